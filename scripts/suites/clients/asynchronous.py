"""aiokafka: its idempotent producer with gzip, a group, and what its admin client asks.

    asynchronous.py HOST:PORT"""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

RECORDS = 5_000


async def produce(broker: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True,
                                compression_type="gzip") as producer:
        sent = [await producer.send(topic, b"%08d" % number, key=b"key %d" % (number % 97))
                for number in range(RECORDS)]
        await asyncio.gather(*sent)


async def consume(broker: str, topic: str) -> None:
    newest, count = {}, 0
    async with AIOKafkaConsumer(topic, bootstrap_servers=broker, group_id=topic,
                                auto_offset_reset="earliest") as consumer:
        while count < RECORDS:
            record = await consumer.getone()
            assert newest.get(record.key, b"") < record.value, f"{record} came out of order"
            newest[record.key] = record.value
            count += 1
        await consumer.commit()


async def main(broker: str) -> None:
    topic = f"aiokafka-{time.time_ns()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await produce(broker, topic)
    await consume(broker, topic)
    await admin.describe_consumer_groups([topic])
    committed = await admin.list_consumer_group_offsets(topic)
    assert sum(at.offset for at in committed.values()) == RECORDS
    await admin.delete_topics([topic])
    await admin.close()


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
