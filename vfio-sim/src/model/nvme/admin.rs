//! What the controller does with a command.

use super::command::{Command, Status};
use super::identify;
use crate::model::Bus;

/// Identify: the controller.
const CONTROLLER: u8 = 0x01;
/// Identify: the numbers of the active namespaces.
const ACTIVE_NAMESPACES: u8 = 0x02;

/// Obeys.
pub(super) fn execute(
    bus: &mut dyn Bus,
    serial: &str,
    page_size: u64,
    command: &Command,
) -> Status {
    if ![Command::IDENTIFY, Command::DELETE_QUEUE].contains(&command.opcode) {
        return Status::INVALID_OPCODE;
    }
    if command.is_special() {
        return Status::INVALID_FIELD;
    }
    if command.opcode == Command::DELETE_QUEUE {
        return Status::INVALID_QUEUE; // there is none but the administrator's
    }
    let data = match command.subject {
        CONTROLLER => identify::controller(serial),
        ACTIVE_NAMESPACES => match identify::namespaces(command.namespace.get()) {
            Some(data) => data,
            None => return Status::INVALID_NAMESPACE,
        },
        _ => return Status::INVALID_FIELD,
    };
    let [first, second] = command.pages;
    answer(bus, page_size, [first.get(), second.get()], &data)
}

/// Writes data, at most a page, to one address up to the end of that page, and the rest to the other.
///
/// It succeeds if the memory cannot be written, as with QEMU's controller: then the data is dropped.
fn answer(bus: &mut dyn Bus, page_size: u64, [first, second]: [u64; 2], data: &[u8]) -> Status {
    let room = page_size - first % page_size;
    let fits = usize::try_from(room).map_or(data.len(), |room| room.min(data.len()));
    let (head, rest) = data.split_at(fits);
    if !rest.is_empty() && second % page_size != 0 {
        return Status::INVALID_OFFSET;
    }
    bus.write_memory(first, head);
    if !rest.is_empty() {
        bus.write_memory(second, rest);
    }
    Status::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake_bus::{BASE, FakeBus};

    const DATA: [u8; identify::SIZE] = [0xa5; identify::SIZE];

    fn written(bus: &FakeBus) -> Vec<usize> {
        let bytes = bus.memory.iter().enumerate();
        bytes
            .filter(|byte| *byte.1 == 0xa5)
            .map(|byte| byte.0)
            .collect()
    }

    #[test]
    fn data_is_in_one_page() {
        let mut bus = FakeBus::new(0x4000);
        let pages = [BASE + 0x1000, 3];
        assert_eq!(answer(&mut bus, 4096, pages, &DATA), Status::SUCCESS);
        assert!(written(&bus).into_iter().eq(0x1000..0x2000));
    }

    #[test]
    fn data_goes_on_in_another_page() {
        let mut bus = FakeBus::new(0x4000);
        let pages = [BASE + 0x2f04, BASE];
        assert_eq!(answer(&mut bus, 4096, pages, &DATA), Status::SUCCESS);
        assert!(
            written(&bus)
                .into_iter()
                .eq((0..0xf04).chain(0x2f04..0x3000))
        );
    }

    #[test]
    fn pages_are_as_large_as_the_driver_says() {
        let mut bus = FakeBus::new(0x2_0000);
        let pages = [BASE + 0x1800, 3];
        assert_eq!(answer(&mut bus, 0x1_0000, pages, &DATA), Status::SUCCESS);
        assert!(written(&bus).into_iter().eq(0x1800..0x2800));

        bus.memory.fill(0);
        let pages = [BASE + 0xff00, BASE];
        assert_eq!(answer(&mut bus, 0x1_0000, pages, &DATA), Status::SUCCESS);
        assert!(
            written(&bus)
                .into_iter()
                .eq((0..0xf00).chain(0xff00..0x1_0000))
        );
    }

    #[test]
    fn the_second_page_is_a_page() {
        let mut bus = FakeBus::new(0x4000);
        let pages = [BASE + 4, BASE + 0x1004];
        assert_eq!(answer(&mut bus, 4096, pages, &DATA), Status::INVALID_OFFSET);
        assert_eq!(written(&bus), []);
    }

    #[test]
    fn dropped_data_is_a_success() {
        let mut bus = FakeBus::new(0x4000);
        bus.refused.push(0x1000..0x2000);
        let pages = [BASE + 0xf00, BASE + 0x1000];
        assert_eq!(answer(&mut bus, 4096, pages, &DATA), Status::SUCCESS);
        assert!(written(&bus).into_iter().eq(0xf00..0x1000));
        let nowhere = [u64::MAX - 3, u64::MAX - 0xfff];
        assert_eq!(answer(&mut bus, 4096, nowhere, &DATA), Status::SUCCESS);
    }
}
