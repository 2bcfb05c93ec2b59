//! Texts that people paste into a shell.

/// `text` as one word of a shell, quoted where it must be.
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run;

    #[test]
    fn a_shell_takes_any_text_for_one_word() {
        assert_eq!(word("/tmp/lab-1"), "/tmp/lab-1");
        for text in ["", "two words", "it's", "$HOME `id` *", "https://[::1]:1/,https://[::1]:2/"] {
            let mut shell = std::process::Command::new("sh");
            let script = format!("printf %s {}", word(text));
            assert_eq!(run(shell.args(["-c", &script])).expect("sh"), text);
        }
    }
}
