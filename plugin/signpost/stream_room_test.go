package signpost

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func clientAddr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }

// entered enters in a goroutine, and returns once the room knows of it.
func entered(r *room, client netip.Addr, wait time.Duration) chan *place {
	got := make(chan *place, 1)
	count := func() (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, g := range r.clients {
			n += len(g.queue) + g.holds
		}
		return n
	}
	before := count()
	go func() { got <- r.enter(client, wait) }()
	for count() == before {
		time.Sleep(time.Millisecond)
	}
	return got
}

func TestRoomIsFair(t *testing.T) {
	r := newRoom(4, 2)
	a, b, c := clientAddr(1), clientAddr(2), clientAddr(3)
	a1, a2 := r.enter(a, 0), r.enter(a, 0)
	if a1 == nil || a2 == nil || r.enter(a, 0) != nil {
		t.Fatal("a client has not exactly its two places")
	}
	a3 := entered(r, a, time.Minute)
	b1, b2 := r.enter(b, 0), r.enter(b, 0)
	if b1 == nil || b2 == nil {
		t.Fatal("a client that waits for itself holds up another")
	}
	c1 := entered(r, c, time.Minute)
	r.leave(b1)
	r.leave(a1) // a's turn is over once a3 has a place
	if (<-c1) == nil || (<-a3) == nil {
		t.Fatal("no place although two are free")
	}
	if r.held() != 4 || len(r.turns) != 0 {
		t.Errorf("%d places held and %d clients waiting, want 4 and 0", r.held(), len(r.turns))
	}
}

// Who waits too long is forgotten, and what is free again goes to the next.
func TestRoomForgets(t *testing.T) {
	r := newRoom(1, 1)
	p := r.enter(clientAddr(1), 0)
	if r.enter(clientAddr(2), 0) != nil || r.enter(clientAddr(2), time.Millisecond) != nil {
		t.Fatal("two places, want one")
	}
	waits := entered(r, clientAddr(3), time.Minute)
	r.leave(p)
	r.leave(<-waits)
	if len(r.turns) != 0 || r.held() != 0 {
		t.Errorf("turns %v, %d places held: want none", r.turns, r.held())
	}
	for i := range 2 * largeClients {
		r.leave(r.enter(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 0))
	}
	if n := len(r.clients); n > largeClients {
		t.Errorf("%d clients are remembered, want at most %d", n, largeClients)
	}
}

// A client without an answer so far is before those that have had one, even if they
// waited longer.
func TestRoomPrefersNewClients(t *testing.T) {
	r := newRoom(1, 1)
	r.leave(r.enter(clientAddr(1), 0))
	p := r.enter(clientAddr(2), 0)
	old := entered(r, clientAddr(1), time.Minute)
	fresh := entered(r, clientAddr(3), time.Minute)
	r.leave(p)
	select {
	case p = <-fresh:
	case <-old:
		t.Fatal("a client that had an answer was first")
	}
	r.leave(p)
	r.leave(<-old)
}

// A write that keeps another client waiting ends early.
func TestRoomHurries(t *testing.T) {
	r := newRoom(1, 1)
	p := r.enter(clientAddr(1), 0)
	server, client := net.Pipe()
	defer client.Close()
	r.writing(p, server, time.Hour)
	done := make(chan error, 1)
	go func() {
		_, err := server.Write(make([]byte, 100)) // the client does not read
		r.written(p)
		r.leave(p)
		done <- err
	}()
	if q := r.enter(clientAddr(2), time.Minute); q == nil {
		t.Error("no place for the client that waits")
	}
	if err := <-done; err == nil {
		t.Error("the write of the other did not end with an error")
	}
}
