"""Drives a real Kafka through each of its protected listeners; see the script `bench-security`
beside this file."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.broker import free_ports
from lab.certificates import Authority
from lab.peer import SCRIPT, Kafka

USER, PASSWORD = "driver", "correct horse, battery \"staple\""
# Kafka's tool splits at commas and takes no quotes.
PASSWORD_FOR_SCRAM = "correct-horse=battery"
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
# One listener for each way, on ports of their own.
LISTENERS = {"SASL_PLAINTEXT": "SASL_PLAINTEXT", "SSL": "SSL", "SASL_SSL": "SASL_SSL",
             "MUTUAL": "SSL"}
PATIENCE_S = 60
# Kafka's file of settings takes a backslash for its own.
JAAS_PASSWORD = PASSWORD.replace("\"", "\\\\\"")
PLAIN_LOGIN = ("org.apache.kafka.common.security.plain.PlainLoginModule required "
               f"user_{USER}=\"{JAAS_PASSWORD}\";")
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Small batches through a group, then what fills many TLS records both ways.
LOADS = {
    "group": ["--rate", "2000", "--producers", "3", "--linger", "5ms", "--consumers", "2",
              "--groups", "1", "--partitions", "4", "--duration", "2s"],
    "large": ["--rate", "400", "--producers", "2", "--consumers", "2", "--partitions", "2",
              "--record-bytes", "1000..300000", "--batch-records", "2", "--duration", "2s"],
}


@dataclass
class Case:
    """A way to the broker, and what must come of it."""

    name: str
    listener: str
    flags: list[str]
    password: str = PASSWORD
    # Words of the error it must end with; empty if it must work.
    refusal: str = ""
    loads: list[str] = field(default_factory=lambda: list(LOADS))


class SecuredKafka(Kafka):
    """A Kafka with a listener for each protection beside the plain one."""

    def __init__(self, folder: Path):
        authority = Authority(folder)
        self.authority, self.stranger = authority.pem, Authority(folder, "stranger").pem
        self.client = authority.issue("client", "DNS:client")
        server = authority.issue("broker", "DNS:localhost,IP:127.0.0.1")
        keystore = folder / "broker.keystore.pem"
        keystore.write_text(server[1].read_text() + server[0].read_text())
        super().__init__(heap="-Xms256m -Xmx768m")
        self.ports = dict(zip(LISTENERS, _ports(len(LISTENERS)), strict=True))
        self.settings = [f"{key}={value}" for key, value in self._settings(keystore).items()]

    def _settings(self, keystore: Path) -> dict[str, str]:
        plain = f"PLAINTEXT://127.0.0.1:{self.port}"
        ours = [f"{name}://localhost:{port}" for name, port in self.ports.items()]
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | LISTENERS
        settings = {
            "listeners": ",".join([plain, f"CONTROLLER://127.0.0.1:{self.port + 1}", *ours]),
            "advertised.listeners": ",".join([plain, *ours]),
            "listener.security.protocol.map":
                ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            "ssl.keystore.type": "PEM", "ssl.keystore.location": keystore,
            "ssl.truststore.type": "PEM", "ssl.truststore.location": self.authority,
            "listener.name.mutual.ssl.client.auth": "required",
        }
        for listener in ("sasl_plaintext", "sasl_ssl"):
            for mechanism in MECHANISMS:
                login = PLAIN_LOGIN if mechanism == "PLAIN" else SCRAM_LOGIN
                key = f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config"
                settings[key] = login
        return settings

    def add_user(self) -> None:
        """The SCRAM mechanisms' user; PLAIN's is in the settings."""
        for mechanism in MECHANISMS[1:]:
            added = f"{mechanism}=[iterations=4096,password={PASSWORD_FOR_SCRAM}]"
            subprocess.run([SCRIPT, "tool", "configs", "--bootstrap-server", self.address,
                            "--alter", "--entity-type", "users", "--entity-name", USER,
                            "--add-config", added],
                           check=True, capture_output=True, timeout=PATIENCE_S)


def _ports(count: int) -> list[int]:
    first = free_ports(count)
    return list(range(first, first + count))


def cases(kafka: SecuredKafka) -> list[Case]:
    """What must work, and what must not."""
    trusted = ["--tls", "--tls-ca", str(kafka.authority)]
    found = [Case("SSL", "SSL", trusted)]
    own = ["--tls-cert", str(kafka.client[0]), "--tls-key", str(kafka.client[1])]
    found.append(Case("SSL with a client's certificate", "MUTUAL", trusted + own))
    for mechanism in MECHANISMS:
        who = ["--sasl", mechanism, "--sasl-user", USER]
        password = PASSWORD if mechanism == "PLAIN" else PASSWORD_FOR_SCRAM
        found.append(Case(f"SASL_PLAINTEXT {mechanism}", "SASL_PLAINTEXT", who, password))
        found.append(Case(f"SASL_SSL {mechanism}", "SASL_SSL", trusted + who, password))
        found.append(Case(f"SASL_SSL {mechanism}, wrong password", "SASL_SSL", trusted + who,
                          "wrong", "SaslAuthenticationFailed"))
    strange = ["--tls", "--tls-ca", str(kafka.stranger)]
    found += [
        Case("SSL, another authority", "SSL", strange, refusal="UnknownIssuer"),
        Case("SSL, another name", "SSL", [*trusted, "--tls-server-name", "elsewhere.test"],
             refusal="not valid for name"),
        Case("SSL, no client's certificate", "MUTUAL", trusted, refusal="ertificate"),
        Case("SSL, to a broker without", "PLAINTEXT", trusted, refusal="TLS"),
        Case("SSL, by a driver without", "SSL", [], refusal="closed"),
        Case("SASL, to a broker without", "PLAINTEXT",
             ["--sasl", "PLAIN", "--sasl-user", USER], refusal="wants no SASL"),
        Case("SASL, by a driver without", "SASL_PLAINTEXT", [], refusal="closed"),
    ]
    return found


def drive(case: Case, load: str, kafka: SecuredKafka, bench: Path) -> str:
    """Runs a case; empty if it went as it must, else what went wrong."""
    port = kafka.ports.get(case.listener, kafka.port)
    command = [bench, "run", "--broker", f"localhost:{port}", "--json", "--idempotent",
               "--warm-up", "500ms", *LOADS[load], *case.flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S,
                          env=os.environ | {"SPATE_BENCH_PASSWORD": case.password}, check=False)
    said = done.stderr.strip().splitlines()
    if case.refusal:
        if done.returncode == 0:
            return "it was let in"
        return "" if case.refusal in done.stderr else f"it said {said[-1:]}"
    if done.returncode != 0:
        return f"it failed: {said[-3:]}"
    result = json.loads(done.stdout)
    outcome = result.get("outcome", result)
    produced, consumed = outcome["produced"], outcome["consumed"]
    if produced["refused"] or produced["unanswered"]:
        return f"refused or unanswered: {outcome['warnings']}"
    if not 0 < produced["records"] <= consumed["verification"]["records"]:
        return f"{produced['records']} produced, {consumed['verification']} read"
    # A fresh Kafka's coordinator takes a moment; members wait for it.
    strange = [text for text in outcome["warnings"]
               if " x while " in text and "coordinator" not in text]
    return f"{strange}" if strange else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/suites/bench-security", description=__doc__)
    parser.add_argument("names", nargs="*", help="only cases whose names begin so")
    parser.add_argument("--bench", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    begun, outcomes = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="spate-security-") as folder:
        kafka = SecuredKafka(Path(folder))
        try:
            kafka.start()
            kafka.add_user()
            for case in cases(kafka):
                if not case.name.startswith(tuple(arguments.names) or ("",)):
                    continue
                for load in case.loads[:1] if case.refusal else case.loads:
                    wrong = drive(case, load, kafka, arguments.bench)
                    outcomes.append(not wrong)
                    print(f"{case.name:40} {load:6} {'FAILED' if wrong else 'PASSED'} {wrong}",
                          flush=True)
        finally:
            kafka.stop()
    failed = outcomes.count(False)
    print(f"{len(outcomes) - failed} passed, {failed} failed in {time.monotonic() - begun:.0f} s")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
