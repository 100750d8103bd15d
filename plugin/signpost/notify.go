package signpost

import (
	"hash/maphash"
	"time"

	"github.com/miekg/dns"
)

// notifyEvery is how often secondaries are notified at most: clusters change many
// times a second, and each NOTIFY may fetch a zone.
const notifyEvery = 2 * time.Second

// notifyShare bounds the time in which zones are compared: one part in so many.
const notifyShare = 20

// notified is the state of a zone when its secondaries were notified last.
type notified struct {
	serial uint64
	digest uint64
	once   bool // they were
}

// notify notifies the secondaries that the plugin transfer lists when a zone has
// changed (RFC 1996), until stop is closed. The first time is the first sync.
func (s *Signpost) notify(send func(zone string) error, stop <-chan struct{}) {
	last := make([]notified, len(s.zones))
	seed, failing := maphash.MakeSeed(), false
	for pause := notifyEvery; ; {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		begin, changed := time.Now(), []string(nil)
		for i := range s.zones {
			if z := &s.zones[i]; s.synced(z) && s.differs(z, &last[i], seed) {
				changed = append(changed, z.name)
			}
		}
		pause = max(notifyEvery, notifyShare*time.Since(begin))
		var failed error
		for _, zone := range changed {
			if err := send(zone); err != nil {
				failed = err
			}
		}
		if failed != nil && !failing {
			log.Warningf("notifying secondaries that a zone changed: %v; they look by themselves after the refresh time", failed)
		}
		failing = failed != nil
	}
}

// differs reports whether the records of a zone are others than those that secondaries
// were notified of, and notes that. The serial rises with any name of the cluster, and
// most changes are in some zones only.
func (s *Signpost) differs(z *zone, last *notified, seed maphash.Seed) bool {
	now := notified{serial: s.serial(z), once: true}
	if last.once && now.serial == last.serial {
		return false
	}
	now.digest = s.digest(z, seed)
	differ := !last.once || now.digest != last.digest
	*last = now
	return differ
}

// digest is a number of the records of a zone, in whatever order they come.
func (s *Signpost) digest(z *zone, seed maphash.Seed) (sum uint64) {
	buf := make([]byte, dns.MaxMsgSize)
	for rrs := range s.zoneRecords(z) {
		for _, rr := range rrs {
			if n, err := dns.PackRR(rr, buf, 0, nil, false); err == nil {
				sum += maphash.Bytes(seed, buf[:n])
			}
		}
	}
	return sum
}
