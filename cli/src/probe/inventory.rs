//! The answer for those who count many hosts.

use crate::format::nfd::Features;
use crate::format::prometheus::Gauge;
use crate::groups;

use super::report::Report;

impl Report {
    pub(super) fn gauges(&self) -> Vec<Gauge> {
        let one = |name: &'static str, value: &str| [(name, value.to_owned())];
        let about = [
            ("architecture", self.about.architecture.clone()),
            ("kernel", self.about.kernel.clone()),
        ];
        let memlock = Gauge::new(
            "vfio_memlock_limit_bytes",
            "How much memory may be locked; absent without a limit.",
        );
        let memlock = match self.memlock.limit.filter(|_| !self.memlock.exempt) {
            Some(limit) => memlock.with([], limit),
            None => memlock,
        };
        let interfaces = &self.interfaces;
        let known = [
            ("container", &interfaces.container),
            ("cdev", &interfaces.cdev),
            ("iommufd", &interfaces.iommufd),
            ("vfio-pci", &interfaces.vfio_pci),
            ("noiommu", &interfaces.noiommu),
        ];
        let interface = Gauge::new(
            "vfio_interface_available",
            "Whether a way in to VFIO is there; absent if that is unknown.",
        );
        let interface = known.iter().fold(interface, |gauge, (name, answer)| {
            gauge.with_answer(one("interface", name), answer)
        });
        let backend = Gauge::new("vfio_backend_info", "How far a backend is supported.");
        let backend = self.backends.iter().fold(backend, |gauge, row| {
            let labels = [
                ("backend", row.name.clone()),
                ("state", row.state.to_owned()),
            ];
            gauge.with(labels, 1)
        });
        let finding = Gauge::new("vfio_finding_info", "What is wrong with the host.");
        let finding = self.findings.iter().fold(finding, |gauge, finding| {
            let labels = [
                ("code", finding.code.unwrap_or("").to_owned()),
                ("name", finding.name.to_owned()),
                ("severity", finding.severity.to_string()),
            ];
            gauge.with(labels, 1)
        });
        let mut gauges = vec![
            Gauge::new("vfio_host_info", "The host.").with(about, 1),
            Gauge::new("vfio_iommu_units", "How many IOMMUs the kernel drives.")
                .with([], self.iommu.units.len() as u64),
            Gauge::new(
                "vfio_interrupts_isolated",
                "Whether interrupts are remapped; absent if that is unknown.",
            )
            .with_answer([], &self.iommu.interrupt_isolation),
            interface,
            memlock,
            Gauge::new(
                "vfio_memlock_enough",
                "Whether enough memory may be locked for the guest that was asked for.",
            )
            .with_answer([], &self.memlock.enough),
            backend,
            finding,
        ];
        gauges.push(groups::inventory::counts(&self.groups));
        gauges
    }

    pub(super) fn features(&self) -> Features {
        let mut features = Features::default();
        features.add(
            "iommu",
            !self.iommu.units.is_empty() || !self.groups.is_empty(),
        );
        features.add_answer("interrupts-isolated", &self.iommu.interrupt_isolation);
        let interfaces = &self.interfaces;
        features.add_answer("container", &interfaces.container);
        features.add_answer("cdev", &interfaces.cdev);
        features.add_answer("iommufd", &interfaces.iommufd);
        features.add_answer("noiommu", &interfaces.noiommu);
        features.add_answer("memlock-enough", &self.memlock.enough);
        for row in &self.backends {
            features.add(&format!("backend.{}", row.name), row.state);
        }
        for finding in &self.findings {
            let name = finding.code.unwrap_or(finding.name);
            features.add(&format!("finding.{name}"), finding.severity);
        }
        groups::inventory::add(&self.groups, &mut features);
        features
    }
}
