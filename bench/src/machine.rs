//! Which machine and which driver a number comes from: without that it says nothing.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

use serde::{Deserialize, Serialize};

/// A machine, and the time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// Its processor's model.
    pub cpu: String,
    /// Its cores, as the kernel counts them.
    pub cores: usize,
    /// Its memory.
    pub memory_bytes: u64,
    /// Its kernel.
    pub kernel: String,
    /// Its distribution.
    pub system: String,
    /// What it runs in, as systemd tells: `none` on bare metal.
    pub virtualised: String,
    /// The driver's version.
    pub driver: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl Machine {
    /// This one, now. What cannot be found out is empty.
    pub fn here() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kernel = |name| {
            let text = read(format!("/proc/sys/kernel/{name}"));
            text.trim().to_owned()
        };
        let cpuinfo = read("/proc/cpuinfo".to_owned());
        let release = read("/etc/os-release".to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Machine {
            host: kernel("hostname"),
            cpu: value(&cpuinfo, "model name", ':').unwrap_or(env::consts::ARCH.to_owned()),
            cores: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_bytes: memory(&read("/proc/meminfo".to_owned())).unwrap_or(0),
            kernel: format!("{} {}", kernel("ostype"), kernel("osrelease")),
            system: value(&release, "PRETTY_NAME", '=').unwrap_or_default(),
            virtualised: virtualised(),
            driver: format!("spate-bench {}", env!("CARGO_PKG_VERSION")),
            unix_ms: now.map_or(0, |since| since.as_millis() as u64),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let virtualised = match self.virtualised.as_str() {
            "" | "none" => String::new(),
            kind => format!(", virtual ({kind})"),
        };
        format!(
            "{} x {}, {gib:.0} GiB, {}, {}{virtualised}",
            self.cores, self.cpu, self.system, self.kernel
        )
    }
}

/// The value of the first line with that key, without quotes.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    let (_, value) = line.split_once(separator)?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn memory(meminfo: &str) -> Option<u64> {
    let total = value(meminfo, "MemTotal", ':')?;
    let kib: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn virtualised() -> String {
    let found = Command::new("systemd-detect-virt").output();
    let name = found.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned());
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_what_linux_writes() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast CPU @ 3:2 GHz\n";
        assert_eq!(
            value(cpuinfo, "model name", ':').as_deref(),
            Some("Fast CPU @ 3:2 GHz")
        );
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n";
        let name = value(release, "PRETTY_NAME", '=');
        assert_eq!(name.as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(memory("MemTotal:  2048 kB\n"), Some(2 << 20));
        assert_eq!(memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory_bytes > 0, "{here:?}");
        assert!(here.line().contains("Linux"), "{}", here.line());
    }
}
