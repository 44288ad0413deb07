// Command clients drives one broker with Go's Kafka clients: each writes records, reads them as a
// member of a group, commits, and asks what its admin part can ask.
//
//	clients franz-go|sarama|kafka-go HOST:PORT
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	records  = 5_000
	patience = 60 * time.Second
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: clients franz-go|sarama|kafka-go HOST:PORT"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	topic := fmt.Sprintf("%s-%d", os.Args[1], time.Now().UnixNano())
	run := map[string]func(context.Context, string, string) error{
		"franz-go": franz, "sarama": saramas, "kafka-go": segmentio,
	}[os.Args[1]]
	if run == nil {
		fail(fmt.Errorf("no client %q", os.Args[1]))
	}
	if err := run(ctx, os.Args[2], topic); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Value is the n-th record's; a key has values in growing order.
func value(n int) []byte { return fmt.Appendf(nil, "%08d", n) }

func key(n int) []byte { return fmt.Appendf(nil, "key %d", n%97) }

// Seen holds what a consumer got against what was written.
type seen struct {
	newest map[string]string
	count  int
}

func newSeen() *seen { return &seen{newest: map[string]string{}} }

// Add refuses what comes twice or out of order.
func (s *seen) add(key, value []byte) error {
	if last := s.newest[string(key)]; last >= string(value) {
		return fmt.Errorf("key %q: %q came after %q", key, value, last)
	}
	s.newest[string(key)] = string(value)
	s.count++
	return nil
}

// Steps runs them in order until one fails, and says which.
func steps(all ...step) error {
	for _, one := range all {
		if err := one.do(); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

type step struct {
	name string
	do   func() error
}
