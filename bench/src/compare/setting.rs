//! Flags of the load that one contender has for itself, as in `lz4=HOST:9092,--batch-records=8`: so
//! the settings of one broker's clients are compared. They have the last word over every case.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::scenario::Scenario;

/// Sets the flags in a scenario, and nothing else.
pub fn apply(scenario: &mut Scenario, flags: &[String]) -> Result<(), clap::Error> {
    scenario.update_from_arg_matches_mut(&mut read(flags)?)
}

/// Refuses what is no flag of the load, or has no such value.
pub fn check(flags: &[String]) -> Result<(), clap::Error> {
    read(flags).map(drop)
}

fn read(flags: &[String]) -> Result<ArgMatches, clap::Error> {
    let line = Command::new("contender").no_binary_name(true);
    let line = Scenario::augment_args_for_update(line).mut_args(only_if_given);
    line.try_get_matches_from(flags)
}

/// Without a default, or every setting that was not given would be set back to it.
fn only_if_given(arg: Arg) -> Arg {
    match arg.get_action() {
        // A switch that is not given counts as given by default: as a value it does not.
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(value_parser!(bool)),
        _ => arg.default_values([] as [&str; 0]),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        scenario: Scenario,
    }

    #[test]
    fn only_what_is_given_changes() {
        let line = [
            "--idempotent",
            "--producers",
            "7",
            "--rate",
            "500",
            "--partitions",
            "3",
        ];
        let mut scenario = Flags::try_parse_from(line).expect("it is sound").scenario;
        let flags = ["--producers=9", "--pin"].map(str::to_owned);
        apply(&mut scenario, &flags).expect("they are flags");
        assert_eq!((scenario.producers, scenario.partitions), (9, 3));
        assert_eq!(scenario.rate.to_string(), "500");
        assert!(scenario.pin && scenario.idempotent);
        apply(&mut scenario, &["--idempotent=false".to_owned()]).expect("it is a flag");
        assert!(!scenario.idempotent && scenario.pin);
        assert!(apply(&mut scenario, &["--nonsense".to_owned()]).is_err());
        assert!(apply(&mut scenario, &["--producers=many".to_owned()]).is_err());
    }
}
