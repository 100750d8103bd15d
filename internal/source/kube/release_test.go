package kube

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRelease: the sink lets go of addresses by itself, in time.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := sliceSink(t)
		go s.release(t.Context())
		sees := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for ep := range store.Service("default", "web").Endpoints() {
				got = append(got, ep.Addr.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		must(t, s.Add(apiSlice("a", "2", "10.1.0.1", "10.1.0.2")))
		must(t, s.Update(apiSlice("a", "3", "10.1.0.1")))
		time.Sleep(holdback - 1)
		must(t, s.Delete(apiSlice("a", "4", "10.1.0.1")))
		sees("10.1.0.1", "10.1.0.2")
		time.Sleep(slack) // nothing else happens
		sees("10.1.0.1", "10.1.0.2")
		time.Sleep(time.Nanosecond)
		sees("10.1.0.1")
		time.Sleep(holdback - 1)
		sees()
		// What happens when its time has come takes an address along.
		must(t, s.Add(apiSlice("a", "2", "10.1.0.1", "10.1.0.2")))
		must(t, s.Update(apiSlice("a", "3", "10.1.0.1")))
		time.Sleep(holdback - 1)
		must(t, s.Add(apiSlice("b", "4", "10.1.0.4")))
		sees("10.1.0.1", "10.1.0.2", "10.1.0.4")
		time.Sleep(time.Nanosecond)
		must(t, s.Add(apiSlice("b", "4", "10.1.0.5")))
		sees("10.1.0.1", "10.1.0.4", "10.1.0.5")
		time.Sleep(holdback + slack)
		sees("10.1.0.1", "10.1.0.5")
		must(t, s.Delete(apiSlice("a", "4", "10.1.0.1")))
		must(t, s.Delete(apiSlice("b", "4", "10.1.0.5")))
		time.Sleep(holdback + slack)
		sees()
		if v := store.Version(); v != 4 {
			t.Errorf("version %d", v)
		}
		// A list says how it is, at once, whatever is held.
		must(t, s.Add(apiSlice("a", "5", "10.1.0.1")))
		must(t, s.Delete(apiSlice("a", "6", "10.1.0.1")))
		must(t, s.Replace([]any{apiSlice("a", "7", "10.1.0.3")}, "8"))
		sees("10.1.0.3")
		time.Sleep(time.Hour)
		sees("10.1.0.3")
	})
}
