// The case of sarama: an idempotent producer with gzip and an eager group, in two ages.

package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

// Saramas speaks as for Kafka 2.1, then as for Kafka 4.
func saramas(ctx context.Context, broker, topic string) error {
	for _, version := range []sarama.KafkaVersion{sarama.V2_1_0_0, sarama.V4_0_0_0} {
		if err := saramaAs(ctx, version, broker, topic+"-"+version.String()); err != nil {
			return fmt.Errorf("as for Kafka %s: %w", version, err)
		}
	}
	return nil
}

func saramaAs(ctx context.Context, version sarama.KafkaVersion, broker, topic string) error {
	config := sarama.NewConfig()
	config.Version = version
	config.Producer.Return.Successes = true
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Compression = sarama.CompressionGZIP
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	brokers := []string{broker}
	admin, err := sarama.NewClusterAdmin(brokers, config)
	if err != nil {
		return err
	}
	defer admin.Close()
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}
	return steps(
		step{"create", func() error {
			detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}
			return admin.CreateTopic(topic, detail, false)
		}},
		step{"produce", func() error { return saramaProduce(brokers, config, topic) }},
		step{"consume", func() error { return saramaConsume(ctx, brokers, config, topic) }},
		step{"offsets", func() error {
			_, err := admin.ListConsumerGroupOffsets(topic, nil)
			return err
		}},
		step{"groups", func() error {
			_, err := admin.DescribeConsumerGroups([]string{topic})
			return err
		}},
		step{"configs", func() error { _, err := admin.DescribeConfig(resource); return err }},
		step{"delete records", func() error {
			return admin.DeleteRecords(topic, map[int32]int64{0: 10})
		}},
		step{"cluster", func() error { _, _, err := admin.DescribeCluster(); return err }},
		step{"delete topic", func() error { return admin.DeleteTopic(topic) }},
	)
}

func saramaProduce(brokers []string, config *sarama.Config, topic string) error {
	producer, err := sarama.NewSyncProducer(brokers, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	batch := make([]*sarama.ProducerMessage, records)
	for n := range batch {
		batch[n] = &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(key(n)),
			Value: sarama.ByteEncoder(value(n))}
	}
	return producer.SendMessages(batch)
}

func saramaConsume(
	ctx context.Context, brokers []string, config *sarama.Config, topic string,
) error {
	group, err := sarama.NewConsumerGroup(brokers, topic, config)
	if err != nil {
		return err
	}
	defer group.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	member := &member{came: newSeen(), done: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{topic}, member); err != nil {
			return err
		}
	}
	if member.err == nil && member.came.count < records {
		return fmt.Errorf("only %d of %d records came", member.came.count, records)
	}
	return member.err
}

// Member reads all its partitions, which come in a goroutine each.
type member struct {
	sync.Mutex
	came *seen
	err  error
	done func()
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	for message := range claim.Messages() {
		m.Lock()
		err := m.came.add(message.Key, message.Value)
		session.MarkMessage(message, "")
		if err != nil {
			m.err = err
		}
		if err != nil || m.came.count == records {
			m.done()
		}
		m.Unlock()
	}
	return nil
}
