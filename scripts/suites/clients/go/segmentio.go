// The case of kafka-go: a topic made by its first record, snappy, and a reader of a group.

package main

import (
	"context"
	"errors"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// Segmentio is kafka-go's writer, with a topic made by its first record, and its group reader.
func segmentio(ctx context.Context, broker, topic string) error {
	batch := make([]kafka.Message, records)
	for n := range batch {
		batch[n] = kafka.Message{Key: key(n), Value: value(n)}
	}
	writer := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, AllowAutoTopicCreation: true,
		RequiredAcks: kafka.RequireAll, Compression: kafka.Snappy, Balancer: &kafka.Hash{},
		BatchTimeout: 10 * time.Millisecond}
	defer writer.Close()
	return steps(
		step{"produce", func() error {
			for {
				err := writer.WriteMessages(ctx, batch...)
				// It looks a new topic up once more than it waits for it.
				if !errors.Is(err, kafka.UnknownTopicOrPartition) || ctx.Err() != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond)
			}
		}},
		step{"consume", func() error { return segmentioConsume(ctx, broker, topic) }},
	)
}

func segmentioConsume(ctx context.Context, broker, topic string) error {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, GroupID: topic,
		Topic: topic, StartOffset: kafka.FirstOffset})
	defer reader.Close()
	came := newSeen()
	var last kafka.Message
	for came.count < records {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			return err
		}
		if err := came.add(message.Key, message.Value); err != nil {
			return err
		}
		last = message
	}
	return reader.CommitMessages(ctx, last)
}
