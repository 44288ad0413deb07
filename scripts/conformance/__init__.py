"""The same requests to a real Kafka and to Spate, their answers compared.

    schema      Kafka's own schemas, and a codec over them that shares nothing with ours
    peer        one broker, spoken to in raw frames; every answer is written down
    mutate      wrong requests made from a right one
    cases/      what is asked, one file per family of APIs
    normalise   what must differ between two brokers, made equal
    differences what may differ, with the reason (differences.toml)
    compare     runs everything and prints what is left

An answer is right when a real Kafka gives it, so nothing here knows an error code."""
