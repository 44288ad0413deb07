//! `spate config`: every setting with its value and who gave it, default, unit and meaning, in a
//! form that is itself a valid settings file.

use std::io::{self, Write};

use super::{CommandError, ServeArgs};
use crate::config::{
    Config,
    source::{Settings, Source},
    table::SETTINGS,
    value::{Kind, Setting, Unit, Value},
};

mod resource;

pub use resource::{Resource, alter};

/// What `config` is told.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Option<resource::ResourceCommand>,
    #[command(flatten)]
    settings: ServeArgs,
}

/// Prints the settings that a broker would be started with, or asks a cluster for what it keeps.
pub fn run(args: &ConfigArgs) -> Result<(), CommandError> {
    match &args.command {
        Some(command) => resource::run(command),
        None => show(&args.settings),
    }
}

fn show(args: &ServeArgs) -> Result<(), CommandError> {
    let (settings, notes) = args.settings()?;
    for note in notes {
        drop(writeln!(io::stderr(), "spate: {note}"));
    }
    print(&settings, &mut io::stdout().lock()).map_err(CommandError::output)?;
    // Contradictions are shown after the values that make them.
    Config::new(settings)?;
    Ok(())
}

fn print(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "# Every setting of spate. This is a valid settings file (--config FILE); each"
    )?;
    writeln!(
        out,
        "# can also be given as --set KEY=VALUE, or in the environment as SPATE_KEY with"
    )?;
    writeln!(
        out,
        "# _ for each dot. A topic may have its own value under the topic's key."
    )?;
    for group in SETTINGS {
        writeln!(out)?;
        for setting in *group {
            print_setting(setting, settings, out)?;
        }
    }
    Ok(())
}

fn print_setting(setting: &Setting, settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let chosen = settings.chosen(setting.key);
    writeln!(out, "# {}", setting.meaning)?;
    let unit = match setting.unit {
        Unit::None => String::new(),
        unit => format!(" {unit}"),
    };
    write!(
        out,
        "# default {}{unit}; {}",
        toml(setting, &setting.default),
        setting.expected()
    )?;
    if let Some(key) = setting.topic_key {
        write!(out, "; topic's key {key}")?;
    }
    if chosen.source != Source::Default {
        write!(out, "; given by {}", chosen.source)?;
    }
    writeln!(out, "\n{} = {}", setting.key, toml(setting, &chosen.value))
}

/// The value as TOML writes it.
fn toml(setting: &Setting, value: &Value) -> String {
    match (setting.kind, value) {
        (Kind::Ratio, Value::Ratio(ratio)) => format!("{ratio:?}"),
        (_, Value::Text(text)) => toml::Value::String(text.to_string()).to_string(),
        (_, value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::settings;

    #[test]
    fn what_is_printed_is_a_settings_file() {
        let mut changed = Settings::default();
        changed.set_pair("num.partitions=12").expect("a good value");
        changed
            .set_pair("broker.rack=a \"quoted\" rack")
            .expect("a good value");
        let mut text = Vec::new();
        print(&changed, &mut text).expect("memory");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &text).expect("written");
        let mut read = Settings::default();
        read.read_file(file.path()).expect("a valid file");
        for setting in settings() {
            assert_eq!(
                read.value(setting.key),
                changed.value(setting.key),
                "{}",
                setting.key
            );
        }
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("given by --set\nnum.partitions = 12\n"),
            "{text}"
        );
    }
}
