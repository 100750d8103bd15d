// Package config reads the configuration of the forwarder: kube-proxy's flags and its
// configuration file (KubeProxyConfiguration v1alpha1), so that a running kube-proxy's
// settings work unchanged.
//
// Precedence is that of kube-proxy. If --config names a file, the file applies, and flags
// with a field in the file are ignored with a note, except --hostname-override and the
// logging flags. Without a file the flags apply. Empty fields get kube-proxy's default;
// the default mode is auto, which prefers nftables.
//
// Nothing is ignored silently. An unknown flag is an error, as in kube-proxy. An unknown
// field, or a field without effect, gets a note for the log. [effects] lists every field
// of the type with its effect, and a test keeps it complete.
//
// To add a setting, add its field or flag to fieldOf, effects and, if a running forwarder
// can adopt it, live; the tests name what is missing.
//
// The package reads the one file and must not look at the machine, the cluster or the
// environment: its callers find out whether a setting works on this node.
package config
