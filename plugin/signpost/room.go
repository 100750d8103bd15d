package signpost

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of the large answers over streams that exist at a time, in this process. An
// answer of 64 KiB takes about 0.4 MiB until the client has taken it.
const (
	largeAnswer     = 4 << 10 // bytes from which an answer needs a place
	largePlaces     = 64      // answers
	largePerClient  = 8       // of them by one client address
	largeWait       = 4 * time.Second
	writeContended  = 200 * time.Millisecond // for a write while others wait for its place
	largeClients    = 1 << 12                // addresses that are remembered
	defaultDeadline = 5 * time.Second        // for a write otherwise: that of CoreDNS's timeouts
)

// deadliner is a connection, as far as a room needs it.
type deadliner interface {
	SetWriteDeadline(time.Time) error
}

// room bounds the large answers. The client whose last answer is the longest ago is
// next: one that asks much waits for itself. One that does not read loses its place
// when another waits for it.
type room struct {
	places, perClient int

	mu      sync.Mutex
	clients map[netip.Addr]*guest
	turns   []*guest // those with a query in the queue
	holders []*place
	granted uint64 // places so far
}

// guest is a client address that holds a place, waits for one, or had one.
type guest struct {
	holds int
	queue []*place
	last  uint64 // number of its last place, counted over all guests; 0: none so far
}

// place is the right to make one large answer.
type place struct {
	guest   *guest
	granted chan struct{}
	conn    deadliner // set while the answer is written
	begun   time.Time // of the write
}

func newRoom(places, perClient int) *room {
	return &room{places: places, perClient: perClient, clients: map[netip.Addr]*guest{}}
}

// large is the room of this process: memory is shared by all server blocks.
var large = newRoom(largePlaces, largePerClient)

// enter waits for a place, not longer than wait; nil means that there is none.
func (r *room) enter(client netip.Addr, wait time.Duration) *place {
	p := &place{granted: make(chan struct{})}
	r.mu.Lock()
	p.guest = r.clients[client]
	if p.guest == nil {
		p.guest = &guest{}
		r.clients[client] = p.guest
	}
	if p.guest.queue = append(p.guest.queue, p); len(p.guest.queue) == 1 {
		r.turns = append(r.turns, p.guest)
	}
	r.grant()
	r.hurry()
	r.mu.Unlock()
	select {
	case <-p.granted:
		return p
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.granted:
		return p
	case <-timer.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(p.guest.queue, p)
	if i < 0 {
		return p // granted meanwhile
	}
	p.guest.queue = slices.Delete(p.guest.queue, i, i+1)
	r.settle(p.guest)
	return nil
}

// leave gives the place to whose turn it is. After it the room does not touch the
// connection any more.
func (r *room) leave(p *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.holders, p)
	r.holders = slices.Delete(r.holders, i, i+1)
	p.guest.holds--
	r.settle(p.guest)
	r.grant()
	r.hurry()
}

// writing sets how long the write of the answer may take, from now on.
func (r *room) writing(p *place, conn deadliner, limit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.conn, p.begun = conn, time.Now()
	_ = conn.SetWriteDeadline(p.begun.Add(limit)) // a closed connection fails at the write
	r.hurry()
}

// written ends what writing began.
func (r *room) written(p *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.conn = nil
}

// held is the number of places in use.
func (r *room) held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.holders)
}

// grant gives free places to guests in turn.
func (r *room) grant() {
	for len(r.holders) < r.places {
		i := -1
		for j, g := range r.turns {
			if g.holds < r.perClient && (i < 0 || g.last < r.turns[i].last) {
				i = j
			}
		}
		if i < 0 {
			return
		}
		g := r.turns[i]
		r.turns = slices.Delete(r.turns, i, i+1)
		p := g.queue[0]
		if g.queue = g.queue[1:]; len(g.queue) > 0 {
			r.turns = append(r.turns, g)
		}
		g.holds++
		r.granted++
		g.last = r.granted
		r.holders = append(r.holders, p)
		close(p.granted)
	}
}

// hurry shortens the writes that keep somebody waiting: all of them if the room is
// full, else those of guests who have all the places that they may have.
func (r *room) hurry() {
	if len(r.turns) == 0 {
		return
	}
	full := len(r.holders) == r.places
	for _, p := range r.holders {
		if p.conn != nil && (full || len(p.guest.queue) > 0) {
			_ = p.conn.SetWriteDeadline(p.begun.Add(writeContended))
			p.conn = nil // once is enough
		}
	}
}

// settle ends the turn of a guest that does not wait any more. All that are idle
// are forgotten when there are too many.
func (r *room) settle(g *guest) {
	if len(g.queue) > 0 {
		return
	}
	if i := slices.Index(r.turns, g); i >= 0 {
		r.turns = slices.Delete(r.turns, i, i+1)
	}
	if len(r.clients) > largeClients {
		maps.DeleteFunc(r.clients, func(_ netip.Addr, g *guest) bool { return g.holds+len(g.queue) == 0 })
	}
}
