//go:build linux

package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// question is one combination of an ask.
type question struct {
	from     string
	protocol cluster.Protocol
	to       destination
	family   family
}

func (q question) String() string {
	return fmt.Sprintf("%s %v %v %v", q.from, q.protocol, q.to, q.family)
}

// seen is how one connection ended.
type seen struct {
	kind  kind // answered, refused, or dropped for no answer
	reply netlab.Reply
	err   error // anything else, if not nil
}

func (s seen) String() string {
	switch {
	case s.err != nil:
		return s.err.Error()
	case s.kind == answered:
		return fmt.Sprintf("answered by %s, which sees %s", s.reply.Server, s.reply.Client.Addr())
	case s.kind == dropped:
		return "no answer"
	}
	return s.kind.String()
}

// rested is how often to ask, with pauses, for a second of eight backends: if all were drawn
// evenly, one time of a quarter of a million it would not be seen.
const rested = 7

// usual is how often to ask for what must happen each time.
const usual = 3

// check asks as often as it takes and says what was seen that should not be, or "".
func (w *world) check(q question, want outcome) string {
	switch want.kind {
	case refused:
		return w.each(q, w.times(q), func(s seen) bool { return s.err == nil && s.kind == refused })
	case dropped:
		return w.each(q, 1, func(s seen) bool { return s.err == nil && s.kind == dropped })
	case untouched:
		return w.each(q, usual, func(s seen) bool { return s.from(witness, w.kept(q)) })
	}
	if want.stuck != spread {
		return w.checkStuck(q, want)
	}
	return w.checkAnswers(q, want)
}

// checkStuck asks a few times and says if it was not the same backend that answered.
func (w *world) checkStuck(q question, want outcome) string {
	w.mu.Lock()
	met := w.met[q.client()]
	w.mu.Unlock()
	if want.stuck == oneOf {
		met = ""
	}
	for range 2 * usual {
		s := w.once(q, w.patience)
		if !slices.ContainsFunc(want.answers, func(a answer) bool { return s.from(a.from.String(), w.sees(q, a)) }) {
			return s.String()
		}
		if met != "" && met != s.reply.Server {
			return fmt.Sprintf("answered by %s, after %s", s.reply.Server, met)
		}
		met = s.reply.Server
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.met[q.client()] = met
	return ""
}

// client is who a backend remembers.
func (q question) client() string { return fmt.Sprintf("%s %v", q.from, q.family) }

// times is how often to ask: once where a refusal is an ICMP message, for these are rate-limited.
func (w *world) times(q question) int {
	if q.protocol == cluster.TCP {
		return usual
	}
	return 1
}

func (s seen) from(server string, client netip.Addr) bool {
	return s.err == nil && s.kind == answered && s.reply.Server == server && s.reply.Client.Addr() == client
}

func (w *world) each(q question, n int, ok func(seen) bool) string {
	patience := w.patience
	if n == 1 && ok(seen{kind: dropped}) {
		patience = silence
	}
	for range n {
		if s := w.once(q, patience); !ok(s) {
			return s.String()
		}
	}
	return ""
}

// checkAnswers asks until each backend has answered, or often enough to see that
// one does not, or a fixed number of times to see how often each does.
func (w *world) checkAnswers(q question, want outcome) string {
	expected := map[string]netip.Addr{}
	for _, a := range want.answers {
		expected[a.from.String()] = w.sees(q, a)
	}
	counts := map[string]int{}
	least, most, others := 2*len(expected), max(2, enough(len(expected))), len(expected)
	if w.inTurn { // all have their turn
		least = len(expected) + 1
	}
	if want.pause > 0 { // it is not asked who gets how many, and pauses take long
		least, most, others = 2, rested, min(2, others)
	}
	if want.evenly {
		least, most = w.samples, w.samples
	}
	for n := 0; n < most && (n < least || len(counts) < others); n++ {
		time.Sleep(time.Duration(want.pause) * time.Second)
		s := w.once(q, w.patience)
		client, ok := expected[s.reply.Server]
		if !ok || !s.from(s.reply.Server, client) {
			return s.String()
		}
		counts[s.reply.Server]++
	}
	var numbers []int
	var missing []string
	for server := range expected {
		numbers = append(numbers, counts[server])
		if counts[server] == 0 {
			missing = append(missing, server)
		}
	}
	switch {
	case len(counts) < others:
		return fmt.Sprintf("never answered by %s; answers: %v", strings.Join(missing, ", "), counts)
	case want.evenly && uneven(numbers):
		return fmt.Sprintf("uneven answers: %v", counts)
	}
	return ""
}

// once opens one connection and asks who is there.
func (w *world) once(q question, patience time.Duration) seen {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	to := netip.AddrPortFrom(w.addr(q.to.host, q.family), q.to.port)
	var reply netlab.Reply
	var err error
	if q.protocol == cluster.UDP {
		reply, err = w.askUDP(ctx, q.from, to)
	} else {
		reply, err = w.hosts[q.from].Ask(ctx, q.protocol.String(), to)
	}
	return saw(reply, err)
}

func saw(reply netlab.Reply, err error) seen {
	var timeout net.Error
	switch {
	case err == nil:
		return seen{kind: answered, reply: reply}
	case errors.Is(err, unix.ECONNREFUSED):
		return seen{kind: refused}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return seen{kind: dropped}
	}
	return seen{err: err}
}

// again is after how long a datagram is sent once more.
const again = 500 * time.Millisecond

// askUDP asks from a port that was not used for long: the kernel keeps UDP flows for
// up to two minutes, and sends what belongs to one where it sent the first datagram.
func (w *world) askUDP(ctx context.Context, from string, to netip.AddrPort) (netlab.Reply, error) {
	var conn *net.UDPConn
	err := w.hosts[from].Do(func() (err error) {
		conn, err = net.DialUDP("udp", &net.UDPAddr{Port: w.nextPort(from)}, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return netlab.Reply{}, err
	}
	defer conn.Close()
	buf := make([]byte, 512)
	for {
		// A packet that is refused or dropped on its own host cannot be sent (EPERM). If it was refused, the
		// message that says so waits to be read.
		if _, err := conn.Write([]byte("who?")); err != nil && !errors.Is(err, unix.EPERM) {
			return netlab.Reply{}, err
		}
		deadline := time.Now().Add(again)
		if end, _ := ctx.Deadline(); end.Before(deadline) {
			deadline = end
		}
		if err := conn.SetReadDeadline(deadline); err != nil {
			return netlab.Reply{}, err
		}
		n, err := conn.Read(buf)
		if err == nil {
			return netlab.ParseReply(string(buf[:n]))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(deadlineOf(ctx)) {
			return netlab.Reply{}, err
		}
	}
}

func deadlineOf(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}

// The ports from which hosts ask over UDP: below those that the kernel gives out.
const firstPort, lastPort = 10000, 30000

func (w *world) nextPort(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.ports[host]
	if n < firstPort || n >= lastPort {
		n = firstPort - 1
	}
	w.ports[host] = n + 1
	return n + 1
}
