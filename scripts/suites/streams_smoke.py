"""The smoke tests of Kafka Streams' test jar, as Kafka's system tests run them: a driver writes,
instances of an application come, go and die, and the driver checks what they have made of it.

At least once: exactly-once needs transactions."""

import time
from pathlib import Path

from lab import clients
from suites.java_program import Failed, JavaProgram

PACKAGE = "org.apache.kafka.streams.tests"
SMOKE_TOPICS = ["data", "echo", "max", "min", "min-suppressed", "min-raw", "dif", "sum", "sws-raw",
                "sws-suppressed", "cnt", "avg", "tagg", "fk"]
RELATIONAL_TOPICS = ["in-article", "in-comment", "out-augmented-article", "out-augmented-comment"]
# As in Kafka's system tests.
PARTITIONS = 5
# The driver writes for 90 s and then reads until the sums are right; of six minutes at most.
DRIVER_S = 480
START_S = 60
# A dead instance is missed within its session.
SETTINGS = """\
bootstrap.servers={address}
processing.guarantee=at_least_once
state.dir={state}
session.timeout.ms=10000
"""


def smoke_program(broker, folder: Path, name: str, command: str) -> JavaProgram:
    settings = folder / f"{name}.properties"
    settings.write_text(SETTINGS.format(address=broker.address, state=folder / name))
    return JavaProgram(name, folder / f"{name}.log", f"{PACKAGE}.StreamsSmokeTest", str(settings),
                       command)


def instance(broker, folder: Path, number: int) -> JavaProgram:
    """An instance that processes."""
    program = smoke_program(broker, folder, f"instance-{number}", "process")
    program.await_text("RUNNING", START_S)
    return program


def written(driver: JavaProgram, count: int) -> None:
    driver.await_text(f" {count} records produced", START_S)


def verdict(driver: JavaProgram) -> None:
    code = driver.wait(DRIVER_S)
    lines = driver.text().splitlines()
    if code != 0 or "SUCCESS" not in lines or "ALL-RECORDS-DELIVERED" not in lines:
        told = [line for line in lines if line.isupper() or "fail" in line.lower()]
        raise Failed(f"the driver (exit {code}) says: {told[:5]}")


def check_closed(program: JavaProgram) -> None:
    if "SMOKE-TEST-CLIENT-CLOSED" not in program.text():
        raise Failed(f"{program.name} did not close: {program.log}")


def make_topics(broker, topics: list[str]) -> None:
    for topic in topics:
        clients.create_topic(broker.address, topic, partitions=PARTITIONS)


def smoke_calm(broker, folder: Path, started: list) -> str:
    """Instances come and go in an orderly way."""
    make_topics(broker, SMOKE_TOPICS)
    driver = smoke_program(broker, folder, "driver", "run")
    started.append(driver)
    started.append(first := instance(broker, folder, 1))
    started.append(second := instance(broker, folder, 2))
    written(driver, 6000)
    first.end()
    check_closed(first)
    started.append(third := instance(broker, folder, 3))
    verdict(driver)
    for program in (second, third):
        program.end()
        check_closed(program)
    return "20,000 records; three instances, one left"


def smoke_kills(broker, folder: Path, started: list) -> str:
    """An instance dies by kill -9, then the broker does."""
    make_topics(broker, SMOKE_TOPICS)
    driver = smoke_program(broker, folder, "driver", "run")
    started.append(driver)
    started.append(first := instance(broker, folder, 1))
    started.append(second := instance(broker, folder, 2))
    written(driver, 4000)
    first.kill()
    started.append(third := instance(broker, folder, 3))
    broker.restart()
    verdict(driver)
    for program in (second, third):
        program.end()
        check_closed(program)
    return "20,000 records; an instance and the broker killed"


def relational(broker, folder: Path, started: list) -> str:
    """Joins by foreign key, aggregations and repartitioning, over two instances."""
    make_topics(broker, RELATIONAL_TOPICS)
    main_class = f"{PACKAGE}.RelationalSmokeTest"
    for number in (1, 2):
        name = f"application-{number}"
        program = JavaProgram(name, folder / f"{name}.log", main_class, "application",
                              broker.address, "relational", "at_least_once", "classic",
                              str(folder / name))
        started.append(program)
    for program in started:
        program.await_text("Streams has started.", START_S)
    driver = JavaProgram("driver", folder / "driver.log", main_class, "driver", broker.address)
    started.append(driver)
    code = driver.wait(DRIVER_S)
    if code != 0 or "Smoke test complete: passed" not in driver.text():
        raise Failed(f"the driver (exit {code}) did not pass: {driver.log}")
    return "1,000 articles and 10,000 comments joined"


def close_while_failing(broker, folder: Path, started: list) -> str:
    """An application that fails and is shut down at once must end."""
    make_topics(broker, ["source"])
    program = smoke_program(broker, folder, "deadlock", "close-deadlock-test")
    started.append(program)
    begun = time.monotonic()
    program.wait(START_S)
    return f"it ended after {time.monotonic() - begun:.0f} s"


CASES = {
    "streams smoke calm": smoke_calm,
    "streams smoke kills": smoke_kills,
    "streams relational": relational,
    "streams close while failing": close_while_failing,
}
