//! VFIO-08: a node may not be opened.

use crate::error::{Error, ErrorKind};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

pub(super) fn diagnose(error: &Error, _: &dyn Kernel) -> Option<Diagnosis> {
    if error.kind() != ErrorKind::NotPermitted || error.operation() != "open" {
        return None;
    }
    let node = error.object();
    let (cause, remedies) = match error.errno()? {
        Errno::PERM => (
            format!(
                "the kernel forbids this process to open {node}: a container's device rules, or a \
                     missing capability"
            ),
            vec![
                format!("in a container: allow the device {node} (docker: --device {node})"),
                "for a noiommu group: CAP_SYS_RAWIO is needed".to_owned(),
            ],
        ),
        _ => (
            format!("this user may not open {node}: its owner and mode, or SELinux or AppArmor"),
            vec![
                match error.group() {
                    Some(_) => format!("give the node to the user: chown USER {node}"),
                    None => format!("the container node is for everybody: chmod 0666 {node}"),
                },
                "or keep it so with a udev rule; or run as root".to_owned(),
            ],
        ),
    };
    Some(Diagnosis {
        code: "VFIO-08",
        name: "permission",
        cause,
        evidence: vec![Evidence::new(node, error.errno()?.to_string())],
        remedies,
    })
}
