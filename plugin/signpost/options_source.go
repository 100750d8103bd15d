package signpost

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// sourceOptions say where the cluster's objects come from.
var sourceOptions = []option{
	{"endpoint", "URL", 1, many, setEndpoint, checkEndpoint},
	{"tls", "CERT KEY CACERT", 3, 3, setTLS, checkTLS},
	{"kubeconfig", "FILE [CONTEXT]", 1, 2, setKubeconfig, nil},
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
