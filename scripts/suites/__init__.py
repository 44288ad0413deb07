"""Third-party suites against a Spate that they start themselves, compared test by test with what a
real Kafka gets. What may differ stands in the TOML file beside each suite, by name and with the
reason; an entry whose test passes after all is an error too, so that the lists stay true."""
