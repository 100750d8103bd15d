package signpost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// sourceOptions say where the cluster's objects come from.
var sourceOptions = []option{
	{"endpoint", "URL", 1, many, setEndpoint, checkEndpoint},
	{"tls", "CERT KEY CACERT", 3, 3, setTLS, checkTLS},
	{"kubeconfig", "FILE [CONTEXT]", 1, 2, setKubeconfig, nil},
	{"apiserver_qps", "NUMBER", 1, 1, setQPS, nil},
	{"apiserver_burst", "COUNT", 1, 1, setBurst, nil},
	{"apiserver_max_inflight", "COUNT", 1, 1, setMaxInFlight, nil},
	{"startup_timeout", "DURATION", 1, 1, setStartupTimeout, nil},
	{"manifests", "DIR", 1, 1, setManifests, checkManifests},
}

const defaultStartupTimeout = 5 * time.Second

func setEndpoint(s *stanza, args []string) error {
	if len(args) > 1 {
		log.Warningf("option endpoint: only the first address is used: %s", args[0])
	}
	s.feed.kube.Endpoint = args[0]
	return nil
}

func checkEndpoint(s *stanza) error {
	if s.feed.kube.Kubeconfig != "" {
		log.Warningf("option endpoint %s has no effect beside kubeconfig", s.feed.kube.Endpoint)
	}
	return nil
}

func setTLS(s *stanza, args []string) error {
	k := &s.feed.kube
	k.CertFile, k.KeyFile, k.CAFile = args[0], args[1], args[2]
	return nil
}

func checkTLS(s *stanza) error {
	if s.feed.kube.Endpoint == "" {
		log.Warning("option tls has no effect without endpoint")
	}
	return nil
}

func setKubeconfig(s *stanza, args []string) error {
	s.feed.kube.Kubeconfig = args[0]
	if len(args) == 2 {
		s.feed.kube.Context = args[1]
	}
	return nil
}

// Ranges of the limits: more than any server takes.
const (
	maxQPS   = 1e6
	maxCount = 1e6
)

func setQPS(s *stanza, args []string) error {
	qps, err := strconv.ParseFloat(args[0], 32)
	if err != nil || !(qps >= 0 && qps <= maxQPS) { // so that NaN is none
		return fmt.Errorf("want requests per second, from 0 (the default) to %d", int(maxQPS))
	}
	s.feed.kube.QPS = float32(qps)
	return nil
}

func setBurst(s *stanza, args []string) (err error) {
	s.feed.kube.Burst, err = parseCount(args[0], "the default")
	return err
}

func setMaxInFlight(s *stanza, args []string) (err error) {
	s.feed.maxInFlight, err = parseCount(args[0], "no limit")
	return err
}

func parseCount(text, zero string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxCount {
		return 0, fmt.Errorf("want a number of requests, from 0 (%s) to %d", zero, int(maxCount))
	}
	return int(n), nil
}

func setStartupTimeout(s *stanza, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil || d < 0 {
		return errors.New("want a duration with its unit, such as 5s; 0s does not wait")
	}
	s.startupTimeout = d
	return nil
}

func setManifests(s *stanza, args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return errors.New("want a folder of YAML or JSON files")
	}
	s.feed.manifests = dir
	return nil
}

func checkManifests(s *stanza) error {
	if s.feed.kube.Endpoint != "" || s.feed.kube.Kubeconfig != "" {
		return errors.New("it replaces the Kubernetes API; want it without endpoint and kubeconfig")
	}
	return nil
}
