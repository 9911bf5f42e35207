//! What `init` is told: shell variables, and COMMAND as the positional parameters.

use super::Request;
use super::device::Placed;
use super::kernel::Module;

pub(super) fn settings(
    request: &Request,
    devices: &[Placed],
    modules: &[Module],
    token: &str,
) -> String {
    let modules: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let devices: Vec<&str> = devices
        .iter()
        .filter_map(|it| it.sysfs.as_deref())
        .collect();
    let command: Vec<String> = request.command.iter().map(|word| quote(word)).collect();
    let variables = [
        ("token", token),
        ("name", request.machine.name),
        ("modules", &modules.join(" ")),
        ("devices", &devices.join(" ")),
        ("bind", if request.bind { "yes" } else { "no" }),
    ];
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(&format!("{name}={}\n", quote(value)));
    }
    text.push_str(&format!("set -- {}\n", command.join(" ")));
    text
}

/// One word of the shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a b$c\n"), "'a b$c\n'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
