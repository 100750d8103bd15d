package signpost

import "time"

// notifyEvery is how often secondaries are told at most: clusters change many
// times a second, and each NOTIFY may fetch a zone.
const notifyEvery = 2 * time.Second

// notify tells the secondaries that the plugin transfer lists when a zone has
// changed (RFC 1996), until stop is closed. The first time is the first sync. They
// are told of every zone, because the serial is that of the whole cluster.
func (s *Signpost) notify(send func(zone string) error, stop <-chan struct{}) {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	told, failing := uint64(0), false
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		version := s.store.Version()
		if !s.store.Synced() || version == told {
			continue
		}
		told = version
		var failed error
		for i := range s.zones {
			if err := send(s.zones[i].name); err != nil {
				failed = err
			}
		}
		if failed != nil && !failing {
			log.Warningf("telling secondaries that the zones changed: %v; they look by themselves after the refresh time", failed)
		}
		failing = failed != nil
	}
}
