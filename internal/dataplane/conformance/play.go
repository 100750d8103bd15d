//go:build linux

package conformance

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// play is one scenario on the network.
type play struct {
	w        *world
	scenario scenario
	made     map[string]bool // names of Services and routes
	held     []heldFlow

	pending  []pendingAsk
	asked    map[string]bool // whether each question got the right answer
	findings []string
	skipped  map[string]bool // reasons
	broken   bool            // the dataplane failed: nothing more is to be seen
}

// heldFlow is a connection that was opened and not used yet.
type heldFlow struct {
	question
	conn net.Conn
}

// pendingAsk is a question that was not asked yet: all between two changes are asked at once.
type pendingAsk struct {
	question
	line    int
	want    outcome
	finding string
}

// play plays a scenario and leaves nothing of it behind.
func (w *world) play(s scenario) *play {
	p := w.begin(s)
	for _, st := range s.steps {
		p.step(st)
	}
	p.end()
	return p
}

// begin prepares for the steps of a scenario, without playing them.
func (w *world) begin(s scenario) *play {
	p := &play{w: w, scenario: s, made: map[string]bool{}, asked: map[string]bool{}, skipped: map[string]bool{}}
	if w.config != s.config {
		p.try("config", w.configure(s.config))
	}
	return p
}

// step plays a step, unless a dataplane failed before.
func (p *play) step(st step) {
	// What a client meets depends on what it met before, if it stays with that.
	if a, more := st.(ask); !more || a.want.stuck != spread {
		p.settle()
	}
	if !p.broken {
		st.play(p)
	}
}

// end asks what is left to ask and removes what the steps made.
func (p *play) end() {
	p.settle()
	for _, h := range p.held {
		h.conn.Close()
	}
	if !p.broken {
		p.try("intact", p.w.intact())
	}
	for _, name := range slices.Sorted(maps.Keys(p.made)) {
		p.try("delete "+name, p.w.delete(name))
	}
}

// atOnce is how many questions are asked at a time.
const atOnce = 16

// settle asks what is pending: over TCP, and then the rest.
func (p *play) settle() {
	var tcp, others []*pendingAsk
	for i := range p.pending {
		if a := &p.pending[i]; a.protocol == cluster.TCP {
			tcp = append(tcp, a)
		} else {
			others = append(others, a)
		}
	}
	p.byReset(tcp)
	p.askAll(others)
	for _, a := range p.pending {
		p.answered(a.line, a.String(), a.finding)
	}
	p.pending = nil
}

func (p *play) askAll(pending []*pendingAsk) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, a := range pending {
		slots <- struct{}{}
		wait.Go(func() {
			a.finding = p.w.check(a.question, a.want)
			<-slots
		})
	}
	wait.Wait()
}

// try notes an error of a dataplane.
func (p *play) try(what string, err error) {
	if err != nil {
		p.broken = true
		p.findings = append(p.findings, fmt.Sprintf("%s: %v", what, err))
	}
}

// answered notes the answer to a question: what was wrong with it, or "".
func (p *play) answered(line int, q, finding string) {
	id := fmt.Sprintf("%s:%d: %s", p.scenario.file, line, q)
	p.asked[id] = finding == ""
	if finding != "" {
		p.findings = append(p.findings, id+": "+finding)
	}
}

func (s service) play(p *play) {
	p.made[s.name] = true
	p.try(s.String(), p.w.put(s))
}

func (e endpoints) play(p *play) { p.try(e.String(), p.w.putEndpoints(e)) }

func (r remove) play(p *play) {
	delete(p.made, r.name)
	p.try(r.String(), p.w.delete(r.name))
}

func (r route) play(p *play) {
	p.made[r.name] = true
	p.try(r.String(), p.w.putRoute(r))
}

func (restart) play(p *play) { p.try("restart", p.w.restart()) }

func (a ask) play(p *play) {
	for _, from := range a.from {
		for _, protocol := range a.protocols {
			for _, to := range a.to {
				for _, f := range a.families {
					p.ask(a, question{from, protocol, to, f})
				}
			}
		}
	}
}

func (p *play) ask(a ask, q question) {
	switch {
	case q.protocol == cluster.SCTP && !netlab.HasSCTP():
		p.skipped["SCTP is not asked: this kernel has no SCTP sockets"] = true
	case !slices.Contains(p.w.families(), q.family):
		p.skipped["IPv6 is not asked: this kernel has none"] = true
	default:
		p.pending = append(p.pending, pendingAsk{question: q, line: a.line, want: a.want})
		if table, ok := p.w.predict(q); ok && kindOf(q.to.host) != "" && !table.equal(a.want) {
			p.findings = append(p.findings, fmt.Sprintf("%s:%d: %v: the scenario says %v, by the table it is %v",
				p.scenario.file, a.line, q, a.want, table))
		}
	}
}

func (h hold) play(p *play) {
	for _, f := range p.w.families() {
		q := question{h.from, cluster.TCP, h.to, f}
		for range h.count {
			ctx, cancel := context.WithTimeout(context.Background(), p.w.patience)
			conn, err := p.w.hosts[h.from].Dial(ctx, "tcp", netip.AddrPortFrom(p.w.addr(h.to.host, f), h.to.port))
			cancel()
			if err != nil {
				p.answered(h.line, q.String(), saw(netlab.Reply{}, err).String())
				return
			}
			p.held = append(p.held, heldFlow{q, conn})
		}
	}
}

func (h held) play(p *play) {
	found := map[string]string{}
	for _, flow := range p.held {
		s := flow.use(p.w.patience)
		right := slices.ContainsFunc(h.want.answers, func(a answer) bool { return s.from(a.from.String(), p.w.sees(flow.question, a)) })
		if was := found[flow.String()]; was == "" && !right {
			found[flow.String()] = s.String()
		} else {
			found[flow.String()] = was
		}
	}
	p.held = nil
	for q, finding := range found {
		p.answered(h.line, q, finding)
	}
}

// use asks over a connection who is at its other end.
func (h heldFlow) use(patience time.Duration) seen {
	defer h.conn.Close()
	reply, err := func() (netlab.Reply, error) {
		if err := h.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return netlab.Reply{}, err
		}
		if _, err := fmt.Fprintf(h.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", h.to.host); err != nil {
			return netlab.Reply{}, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(h.conn), nil)
		if err != nil {
			return netlab.Reply{}, err
		}
		defer resp.Body.Close()
		var text strings.Builder
		if _, err := bufio.NewReader(resp.Body).WriteTo(&text); err != nil {
			return netlab.Reply{}, err
		}
		return netlab.ParseReply(text.String())
	}()
	return saw(reply, err)
}
