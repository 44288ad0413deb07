// KafkaJS: its idempotent producer with gzip, a group, and its admin client.
//
//     node kafkajs.cjs HOST:PORT

const { CompressionTypes, Kafka, logLevel } = require("kafkajs");

const RECORDS = 5000;
const BATCHES = 10;
const TOPIC_RESOURCE = 2;

async function produce(kafka, topic) {
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  for (let batch = 0; batch < BATCHES; batch++) {
    const messages = Array.from({ length: RECORDS / BATCHES }, (_, index) => {
      const number = (batch * RECORDS) / BATCHES + index;
      return { key: `key ${number % 97}`, value: String(number), headers: { number: `${number}` } };
    });
    await producer.send({ topic, compression: CompressionTypes.GZIP, messages });
  }
  await producer.disconnect();
}

async function consume(kafka, topic) {
  const consumer = kafka.consumer({ groupId: topic });
  const newest = new Map();
  let count = 0;
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise((resolve, reject) => {
    const eachMessage = async ({ message }) => {
      const key = message.key.toString();
      const number = Number(message.value.toString());
      if (newest.has(key) && newest.get(key) >= number) {
        reject(new Error(`${key}: ${number} came after ${newest.get(key)}`));
      }
      newest.set(key, number);
      count += 1;
      if (count === RECORDS) resolve();
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
}

async function administer(admin, topic) {
  const resource = { type: TOPIC_RESOURCE, name: topic };
  const configEntries = [{ name: "retention.ms", value: "100000" }];
  await admin.fetchOffsets({ groupId: topic, topics: [topic] });
  await admin.describeGroups([topic]);
  await admin.fetchTopicOffsetsByTimestamp(topic, Date.now() - 1000);
  await admin.describeConfigs({ includeSynonyms: true, resources: [resource] });
  await admin.alterConfigs({ resources: [{ ...resource, configEntries }] });
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] });
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "10" }] });
  await admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: "20" }] });
  await admin.resetOffsets({ groupId: topic, topic, earliest: true });
  await admin.describeCluster();
  await admin.deleteGroups([topic]);
  await admin.deleteTopics({ topics: [topic] });
}

async function main() {
  const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR });
  const topic = `kafkajs-${Date.now()}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true });
  await produce(kafka, topic);
  await consume(kafka, topic);
  await administer(admin, topic);
  await admin.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
