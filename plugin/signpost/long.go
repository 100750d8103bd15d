package signpost

import (
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// longestName is how many characters a name has at most, with its final dot: it takes
// one octet more in a message (RFC 1035 §2.3.4). No name of Kubernetes has an escape.
const longestName = 254

// longestRelative is how many characters the name of an endpoint of this cluster has at
// most before its zone: three labels of 63 characters and svc, each with its dot.
const longestRelative = 3*(63+1) + len("svc.")

// fits reports whether a name can stand in a message. One that does not is left out:
// it would spoil the whole answer.
func fits(name string) bool { return len(name) <= longestName }

// tight reports whether the zone is so long that some names of Kubernetes do not fit.
func (z *zone) tight() bool {
	return z.tree == clustersetTree || len(z.name) > longestName-longestRelative
}

// tight reports whether any zone is.
func (s *Signpost) tight() bool {
	for i := range s.zones {
		if s.zones[i].tight() {
			return true
		}
	}
	return false
}

// longEvery is how often to look for names that do not fit.
const longEvery = 10 * time.Second

// tellLong reports Services with names that do not fit, until stop is closed. Which names
// these are depends on the zones, so no source can know.
func (s *Signpost) tellLong(report func(ref cluster.Ref, name string), stop <-chan struct{}) {
	serial, told := uint64(0), map[cluster.Ref]string{}
	for pause := longEvery; ; {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		if now := s.store.Serial(cluster.PartNames, cluster.PartImports); now != serial {
			serial = now
			begin := time.Now()
			told = s.reportLong(report, told)
			pause = max(longEvery, notifyShare*time.Since(begin))
		}
	}
}

// reportLong reports one name of each Service that has some that do not fit, less those
// that were told. It returns those to be told no more.
func (s *Signpost) reportLong(report func(ref cluster.Ref, name string), told map[cluster.Ref]string) map[cluster.Ref]string {
	found := map[cluster.Ref]string{}
	for i := range s.zones {
		z := &s.zones[i]
		if z.reverse || !z.tight() {
			continue
		}
		kind := cluster.KindService
		if z.tree == clustersetTree {
			kind = cluster.KindServiceImport
		}
		for e := range s.index(z).Services() {
			ref := cluster.Ref{Kind: kind, Key: e.Service.Key}
			name := s.longOf(z, e)
			if name == "" || found[ref] != "" {
				continue
			}
			found[ref] = name
			if told[ref] != name {
				report(ref, name)
			}
		}
	}
	return found
}

// longOf returns a name of a Service in a zone that does not fit; "" if there is none.
func (s *Signpost) longOf(z *zone, e *cluster.Entry) (long string) {
	tree := ".svc"
	if z.tree == outsideTree {
		if tree = ""; s.outsideKind(e) == missing {
			return ""
		}
	}
	serviceNames(e, tree, func(relative string) bool {
		if name := join(relative, z.name); !fits(name) {
			long = name
		}
		return long == ""
	})
	return long
}
