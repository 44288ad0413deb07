// The case of franz-go: the idempotent producer (its default) with lz4, a cooperative group, kadm.

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(ctx context.Context, broker, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	return steps(
		step{"create", func() error {
			_, err := admin.CreateTopic(ctx, 4, 1, nil, topic)
			return err
		}},
		step{"produce", func() error { return franzProduce(ctx, client) }},
		step{"consume", func() error { return franzConsume(ctx, broker, topic) }},
		step{"lag", func() error {
			lags, err := admin.Lag(ctx, topic)
			if err != nil {
				return err
			}
			if lag := lags[topic].Lag.Total(); lag != 0 {
				return fmt.Errorf("%d after everything was committed", lag)
			}
			return nil
		}},
		step{"admin", func() error { return franzAdmin(ctx, admin, topic) }},
	)
}

func franzProduce(ctx context.Context, client *kgo.Client) error {
	var refused error
	for n := range records {
		record := &kgo.Record{Key: key(n), Value: value(n)}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				refused = err
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return refused
}

func franzConsume(ctx context.Context, broker, topic string) error {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup(topic),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer consumer.Close()
	came := newSeen()
	for came.count < records {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, failed := range fetches.Errors() {
			return failed.Err
		}
		for _, record := range fetches.Records() {
			if err := came.add(record.Key, record.Value); err != nil {
				return err
			}
		}
	}
	return consumer.CommitUncommittedOffsets(ctx)
}

func franzAdmin(ctx context.Context, admin *kadm.Client, topic string) error {
	hour := "3600000"
	half := kadm.Offsets{}
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &hour}}
	return steps(
		step{"end offsets", func() error {
			ends, err := admin.ListEndOffsets(ctx, topic)
			ends.Each(func(end kadm.ListedOffset) {
				half.Add(kadm.Offset{Topic: topic, Partition: end.Partition, At: end.Offset / 2,
					LeaderEpoch: -1})
			})
			return err
		}},
		step{"delete records", func() error {
			deleted, err := admin.DeleteRecords(ctx, half)
			if err != nil {
				return err
			}
			return deleted.Error()
		}},
		step{"offsets of a time", func() error {
			_, err := admin.ListOffsetsAfterMilli(ctx, time.Now().UnixMilli(), topic)
			return err
		}},
		step{"newest time", func() error {
			_, err := admin.ListMaxTimestampOffsets(ctx, topic)
			return err
		}},
		step{"alter", func() error { _, err := admin.AlterTopicConfigs(ctx, change, topic); return err }},
		step{"configs", func() error { _, err := admin.DescribeTopicConfigs(ctx, topic); return err }},
		step{"log dirs", func() error { _, err := admin.DescribeAllLogDirs(ctx, nil); return err }},
		step{"groups", func() error { _, err := admin.DescribeGroups(ctx); return err }},
		step{"producers", func() error {
			_, err := admin.DescribeProducers(ctx, kadm.TopicsSet{topic: {0: {}}})
			return err
		}},
		step{"transactions", func() error {
			_, err := admin.ListTransactions(ctx, nil, nil)
			return err
		}},
		step{"delete group", func() error { _, err := admin.DeleteGroup(ctx, topic); return err }},
		step{"delete topic", func() error { _, err := admin.DeleteTopic(ctx, topic); return err }},
	)
}
