//go:build linux

package conformance

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// unreachables counts the ICMP messages of both families that told a host that something
// cannot be reached.
func (w *world) unreachables(host string) (n int, err error) {
	err = w.hosts[host].Do(func() error {
		n = 0
		for file, count := range map[string]func(string) (int, error){"snmp": unreachables4, "snmp6": unreachables6} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if file == "snmp6" && os.IsNotExist(err) {
				continue // no IPv6
			}
			if err != nil {
				return err
			}
			more, err := count(string(text))
			if err != nil {
				return fmt.Errorf("/proc/net/%s: %w", file, err)
			}
			n += more
		}
		return nil
	})
	return n, err
}

// unreachables4 reads /proc/net/snmp: a line of names for each protocol, then one of values.
func unreachables4(text string) (int, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		for i, name := range names {
			if name == "InDestUnreachs" && i < len(fields) {
				return strconv.Atoi(fields[i])
			}
		}
		names = fields
	}
	return 0, fmt.Errorf("expected Icmp: InDestUnreachs")
}

// unreachables6 reads /proc/net/snmp6: a name and a value on each line.
func unreachables6(text string) (int, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "Icmp6InDestUnreachs"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("expected Icmp6InDestUnreachs")
}

// byReset asks TCP questions and complains of refusals that were ICMP messages: a kernel
// sends six of them and then one a second, and a client waits for those that it did not.
func (p *play) byReset(pending []*pendingAsk) {
	before := map[string]int{}
	for _, a := range pending {
		if a.want.kind == refused && a.protocol == cluster.TCP {
			n, err := p.w.unreachables(a.from)
			p.try("count ICMP messages", err)
			before[a.from] = n
		}
	}
	p.askAll(pending)
	for _, a := range pending {
		was, counted := before[a.from]
		if !counted || a.want.kind != refused || a.finding != "" {
			continue
		}
		now, err := p.w.unreachables(a.from)
		p.try("count ICMP messages", err)
		if now > was {
			a.finding = fmt.Sprintf("refused, but by %d ICMP messages to the client instead of resets", now-was)
		}
	}
}
