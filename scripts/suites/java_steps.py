"""The commands that `java-tools` gives to both brokers, in order: later ones find what earlier ones
made. `{b}` is the broker's address, `{d}` a folder for files."""

from dataclasses import dataclass

CLI = "org.apache.kafka.tools."


@dataclass(frozen=True)
class Step:
    """One command. With `counts` its figures are not compared, only its words."""

    name: str
    tool: str
    arguments: str
    given: str = ""
    counts: bool = False
    # Its lines come in the order of a hash map.
    unordered: bool = False
    # Runs until the step named `end NAME`, while others look.
    stays: bool = False
    files: tuple = ()


def topics(name, arguments):
    return Step(f"topics {name}", "topics", f"--bootstrap-server {{b}} {arguments}")


def configs(name, arguments):
    return Step(f"configs {name}", "configs", f"--bootstrap-server {{b}} {arguments}")


def groups(name, arguments, files=(), unordered=False):
    return Step(f"consumer-groups {name}", CLI + "consumer.group.ConsumerGroupCommand",
                f"--bootstrap-server {{b}} {arguments}", files=files, unordered=unordered)


def reset(name, how, files=()):
    return groups(f"reset {name}",
                  f"--group readers --topic orders --reset-offsets {how} --execute", files)


def consumer(name, arguments, **fields):
    return Step(f"console-consumer {name}", "console-consumer",
                f"--bootstrap-server {{b}} {arguments}", **fields)


def offsets(name, arguments, counts=False):
    return Step(f"get-offsets {name}", "get-offsets", f"--bootstrap-server {{b}} {arguments}",
                counts=counts)


def admin(name, tool, arguments, files=(), counts=False):
    return Step(name, CLI + tool, arguments, files=files, counts=counts)


PRINT_ALL = ("--formatter-property print.key=true --formatter-property print.offset=true "
             "--formatter-property print.partition=true --formatter-property print.headers=true")
RECORDS = "".join(f"h=v\tkey-{n}\tvalue-{n}\n" for n in range(20))
PARSE = ("--reader-property parse.key=true --reader-property parse.headers=true "
         "--reader-property headers.delimiter=\t --reader-property headers.key.separator==")
DELETE_TO_3 = '{"partitions":[{"topic":"orders","partition":0,"offset":3}],"version":1}'
DELETE_TOO_FAR = '{"partitions":[{"topic":"orders","partition":0,"offset":999}],"version":1}'
STAY = '{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[1]}]}'
MOVE = '{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[9]}]}'
TO_MOVE = '{"topics":[{"topic":"orders"}],"version":1}'
ELECT = '{"partitions":[{"topic":"orders","partition":0}]}'
RESET_PLAN = "orders,0,2\n"

STEPS = [
    topics("create", "--create --topic orders --partitions 1 --config retention.ms=-1"),
    topics("create exists", "--create --topic orders"),
    topics("create if not exists", "--create --topic orders --if-not-exists"),
    topics("create defaults", "--create --topic plain"),
    topics("create assigned", "--create --topic assigned --replica-assignment 1,1,1"),
    topics("create factor 3", "--create --topic wide --replication-factor 3"),
    topics("create bad config", "--create --topic bad --config no.such=1"),
    topics("create bad value", "--create --topic bad --config retention.ms=soon"),
    topics("create bad name", "--create --topic bad!"),
    topics("list", "--list"),
    topics("describe", "--describe --topic orders"),
    topics("describe all", "--describe --exclude-internal"),
    topics("describe unknown", "--describe --topic no-such"),
    topics("describe overrides", "--describe --topics-with-overrides"),
    topics("describe under-replicated", "--describe --under-replicated-partitions"),
    topics("describe at-min-isr", "--describe --at-min-isr-partitions --topic orders"),
    topics("alter", "--alter --topic plain --partitions 6"),
    topics("alter fewer", "--alter --topic plain --partitions 2"),
    topics("alter unknown", "--alter --topic no-such --partitions 2"),
    topics("describe grown", "--describe --topic plain"),
    topics("delete", "--delete --topic assigned"),
    topics("delete unknown", "--delete --topic no-such"),
    configs("describe topic", "--describe --topic orders"),
    configs("describe topic all", "--describe --all --topic orders"),
    configs("describe unknown topic", "--describe --topic no-such"),
    configs("alter topic", "--alter --topic orders --add-config "
                           "max.message.bytes=100000,cleanup.policy=[compact,delete]"),
    configs("altered topic", "--describe --topic orders"),
    configs("alter topic bad value", "--alter --topic orders --add-config retention.ms=soon"),
    configs("alter topic unknown key", "--alter --topic orders --add-config no.such=1"),
    configs("unset topic", "--alter --topic orders --delete-config "
                           "max.message.bytes,cleanup.policy"),
    configs("unset topic again", "--alter --topic orders --delete-config max.message.bytes"),
    configs("unset topic described", "--describe --topic orders"),
    configs("describe broker", "--describe --broker 1"),
    configs("alter broker", "--alter --broker 1 --add-config log.retention.ms=86400000"),
    configs("altered broker", "--describe --broker 1"),
    configs("alter broker read-only", "--alter --broker 1 --add-config node.id=5"),
    configs("unset broker", "--alter --broker 1 --delete-config log.retention.ms"),
    configs("alter all brokers", "--alter --broker-defaults --add-config "
                                 "log.retention.ms=86400000"),
    configs("altered all brokers", "--describe --broker-defaults"),
    configs("unset all brokers", "--alter --broker-defaults --delete-config log.retention.ms"),
    configs("alter group", "--alter --group readers --add-config "
                           "consumer.session.timeout.ms=50000"),
    configs("describe group", "--describe --group readers"),
    configs("unset group", "--alter --group readers --delete-config consumer.session.timeout.ms"),
    admin("client-metrics alter", "ClientMetricsCommand",
          "--bootstrap-server {b} --alter --name watch --interval 30000 --metrics org.apache"),
    admin("client-metrics describe", "ClientMetricsCommand",
          "--bootstrap-server {b} --describe --name watch"),
    admin("client-metrics list", "ClientMetricsCommand", "--bootstrap-server {b} --list"),
    admin("client-metrics delete", "ClientMetricsCommand",
          "--bootstrap-server {b} --delete --name watch"),
    Step("console-producer", "console-producer",
         f"--bootstrap-server {{b}} --topic orders {PARSE}", given=RECORDS),
    Step("console-producer acks=1 lz4", "console-producer",
         "--bootstrap-server {b} --topic plain --producer-property acks=1 "
         "--compression-codec lz4 --reader-property parse.key=true",
         given="k\tone\nk\ttwo\nk\tthree\n"),
    consumer("from the beginning",
             f"--topic orders --from-beginning --max-messages 20 {PRINT_ALL}"),
    consumer("from an offset", "--topic orders --partition 0 --offset 15 --max-messages 5"),
    consumer("committed only", "--topic orders --from-beginning --max-messages 20 "
                               "--isolation-level read_committed"),
    consumer("with a group", "--topic orders --group readers --from-beginning --max-messages 10"),
    consumer("with a group, the rest", "--topic orders --group readers --max-messages 10"),
    consumer("nothing more", "--topic orders --group readers --timeout-ms 4000"),
    consumer("by pattern", "--include ord.* --from-beginning --max-messages 20"),
    consumer("of offsets", "--topic __consumer_offsets --from-beginning --timeout-ms 6000 "
                           f"--formatter {CLI}consumer.OffsetsMessageFormatter", counts=True),
    groups("list", "--list", unordered=True),
    groups("list states", "--list --state", unordered=True),
    groups("describe", "--describe --group readers"),
    groups("describe state", "--describe --group readers --state"),
    groups("describe members", "--describe --group readers --members"),
    groups("describe offsets verbose", "--describe --group readers --offsets --verbose"),
    groups("describe unknown", "--describe --group no-such"),
    reset("to earliest", "--to-earliest"),
    reset("shift", "--shift-by 7"),
    reset("shift back too far", "--shift-by -100"),
    reset("to offset", "--to-offset 4"),
    reset("to offset too far", "--to-offset 400"),
    reset("to current", "--to-current"),
    reset("to latest", "--to-latest"),
    reset("to datetime", "--to-datetime 2020-01-01T00:00:00.000"),
    reset("by duration", "--by-duration PT1S"),
    reset("from file", "--from-file {d}/plan.csv", files=(("plan.csv", RESET_PLAN),)),
    groups("reset dry run", "--group readers --all-topics --reset-offsets --to-earliest --dry-run"),
    groups("reset export", "--group readers --topic orders:0 --reset-offsets --to-latest "
                           "--dry-run --export"),
    groups("reset unknown topic", "--group readers --topic no-such --reset-offsets --to-latest "
                                  "--execute"),
    groups("reset new group", "--group fresh --topic orders --reset-offsets --to-earliest "
                              "--execute"),
    consumer("that stays", "--topic orders --group living --from-beginning", stays=True),
    groups("describe living", "--describe --group living"),
    groups("describe living members", "--describe --group living --members --verbose"),
    groups("describe living state", "--describe --group living --state"),
    groups("reset living", "--group living --topic orders --reset-offsets --to-latest --execute"),
    groups("delete living", "--delete --group living"),
    Step("end console-consumer that stays", "", ""),
    groups("delete offsets", "--delete-offsets --group readers --topic orders"),
    groups("delete offsets unknown", "--delete-offsets --group readers --topic no-such"),
    groups("delete", "--delete --group fresh"),
    groups("delete unknown", "--delete --group no-such"),
    admin("delete-records", "DeleteRecordsCommand", "--bootstrap-server {b} "
          "--offset-json-file {d}/to3.json", files=(("to3.json", DELETE_TO_3),)),
    admin("delete-records too far", "DeleteRecordsCommand", "--bootstrap-server {b} "
          "--offset-json-file {d}/far.json", files=(("far.json", DELETE_TOO_FAR),)),
    offsets("all", "--exclude-internal-topics"),
    offsets("earliest", "--topic orders --time earliest"),
    offsets("latest", "--topic orders --time latest"),
    # Which record is the youngest depends on when the producer took its milliseconds.
    offsets("max timestamp", "--topic orders --time max-timestamp", counts=True),
    offsets("by time", "--topic orders --time 1000"),
    offsets("tiered", "--topic orders --time latest-tiered"),
    offsets("of partitions", "--topic-partitions plain:0-2 --time -1"),
    offsets("unknown", "--topic no-such"),
    admin("log-dirs", "LogDirsCommand", "--bootstrap-server {b} --describe --topic-list orders",
          counts=True),
    admin("features", "FeatureCommand", "--bootstrap-server {b} describe"),
    admin("features upgrade", "FeatureCommand",
          "--bootstrap-server {b} upgrade --feature no.such=1"),
    admin("metadata-quorum status", "MetadataQuorumCommand",
          "--bootstrap-server {b} describe --status", counts=True),
    admin("metadata-quorum replication", "MetadataQuorumCommand",
          "--bootstrap-server {b} describe --replication", counts=True),
    Step("cluster id", "cluster", "cluster-id --bootstrap-server {b}"),
    Step("cluster endpoints", "cluster", "list-endpoints --bootstrap-server {b}"),
    Step("broker-api-versions", "broker-api-versions", "--bootstrap-server {b}"),
    admin("leader-election", "LeaderElectionCommand", "--bootstrap-server {b} "
          "--election-type preferred --path-to-json-file {d}/elect.json",
          files=(("elect.json", ELECT),)),
    admin("leader-election all", "LeaderElectionCommand",
          "--bootstrap-server {b} --election-type preferred --all-topic-partitions"),
    admin("reassign list", "reassign.ReassignPartitionsCommand", "--bootstrap-server {b} --list"),
    admin("reassign generate", "reassign.ReassignPartitionsCommand", "--bootstrap-server {b} "
          "--generate --broker-list 1 --topics-to-move-json-file {d}/move.json",
          files=(("move.json", TO_MOVE),)),
    admin("reassign stay", "reassign.ReassignPartitionsCommand", "--bootstrap-server {b} "
          "--execute --reassignment-json-file {d}/stay.json", files=(("stay.json", STAY),)),
    admin("reassign verify", "reassign.ReassignPartitionsCommand", "--bootstrap-server {b} "
          "--verify --reassignment-json-file {d}/stay.json", files=(("stay.json", STAY),)),
    admin("reassign to nobody", "reassign.ReassignPartitionsCommand", "--bootstrap-server {b} "
          "--execute --reassignment-json-file {d}/nobody.json", files=(("nobody.json", MOVE),)),
    admin("transactions list", "TransactionsCommand", "--bootstrap-server {b} list"),
    admin("transactions producers", "TransactionsCommand", "--bootstrap-server {b} "
          "describe-producers --topic orders --partition 0", counts=True),
    Step("producer-perf-test", "producer-perf-test", "--topic plain --num-records 1000 "
         "--record-size 100 --throughput -1 --command-property bootstrap.servers={b}", counts=True),
    Step("consumer-perf-test", "consumer-perf-test",
         "--bootstrap-server {b} --topic plain --num-records 1000 --group perf", counts=True),
    admin("end-to-end", "EndToEndLatency", "--bootstrap-server {b} --topic plain --num-records 50 "
          "--producer-acks 1 --record-size 100", counts=True),
    admin("verifiable-producer", "VerifiableProducer",
          "--bootstrap-server {b} --topic verified --max-messages 50 --throughput 1000",
          counts=True),
    admin("verifiable-consumer", "VerifiableConsumer", "--bootstrap-server {b} --topic verified "
          "--group-id verified --max-messages 50 --verbose", counts=True),
    topics("final list", "--list"),
]
