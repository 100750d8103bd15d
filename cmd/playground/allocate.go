//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The addresses of Services. The first 256 of a range are left for those that ask for a certain one, as an API server
// does (KEP-3070).
var (
	serviceCIDR4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceCIDR6 = netip.MustParsePrefix("fd00:10:96::/112")
)

const reservedAddresses = 256

// An allocator gives out the addresses of one range.
type allocator struct {
	prefix netip.Prefix
	used   map[netip.Addr]bool
	next   netip.Addr
}

func newAllocator(prefix netip.Prefix) *allocator {
	next := prefix.Addr()
	for range reservedAddresses {
		next = next.Next()
	}
	return &allocator{prefix: prefix, used: map[netip.Addr]bool{}, next: next}
}

// take reserves a certain address.
func (a *allocator) take(addr netip.Addr) error {
	switch {
	case !a.prefix.Contains(addr):
		return fmt.Errorf("address %s is not in the range of services, %s", addr, a.prefix)
	case a.used[addr]:
		return fmt.Errorf("address %s has another service", addr)
	}
	a.used[addr] = true
	return nil
}

// any reserves the next free address.
func (a *allocator) any() (netip.Addr, error) {
	for ; a.prefix.Contains(a.next); a.next = a.next.Next() {
		if !a.used[a.next] {
			a.used[a.next] = true
			return a.next, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is free in the range of services, %s", a.prefix)
}

// admission completes Services as an API server does when they are created.
type admission struct {
	ranges map[corev1.IPFamily]*allocator // the families of the cluster
}

func newAdmission(ipv6 bool) *admission {
	a := &admission{ranges: map[corev1.IPFamily]*allocator{corev1.IPv4Protocol: newAllocator(serviceCIDR4)}}
	if ipv6 {
		a.ranges[corev1.IPv6Protocol] = newAllocator(serviceCIDR6)
	}
	return a
}

// admit sets the defaults of a Service and gives it its addresses.
func (a *admission) admit(s *corev1.Service) error {
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range s.Spec.Ports {
		port := &s.Spec.Ports[i]
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort == (intstr.IntOrString{}) {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	err := a.chooseFamilies(s)
	if err == nil {
		err = a.chooseAddresses(s)
	}
	if err != nil {
		return fmt.Errorf("service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// chooseFamilies sets spec.ipFamilies by spec.ipFamilyPolicy.
func (a *admission) chooseFamilies(s *corev1.Service) error {
	policy := corev1.IPFamilyPolicySingleStack
	if s.Spec.IPFamilyPolicy != nil {
		policy = *s.Spec.IPFamilyPolicy
	}
	families := s.Spec.IPFamilies
	if len(families) == 0 {
		families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if policy != corev1.IPFamilyPolicySingleStack {
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			if a.ranges[family] != nil && !slices.Contains(families, family) {
				families = append(families, family)
			}
		}
	}
	for _, family := range families {
		if a.ranges[family] == nil {
			return fmt.Errorf("family %s: this machine has none", family)
		}
	}
	if policy == corev1.IPFamilyPolicyRequireDualStack && len(families) < 2 {
		return errors.New("policy RequireDualStack: this machine has no IPv6")
	}
	s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, families
	return nil
}

// chooseAddresses sets spec.clusterIPs, one for each family, and spec.clusterIP.
func (a *admission) chooseAddresses(s *corev1.Service) error {
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		s.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		return nil
	}
	wanted := s.Spec.ClusterIPs
	if len(wanted) == 0 && s.Spec.ClusterIP != "" {
		wanted = []string{s.Spec.ClusterIP}
	}
	var chosen []string
	for i, family := range s.Spec.IPFamilies {
		addr, err := netip.Addr{}, error(nil)
		if i < len(wanted) {
			if addr, err = netip.ParseAddr(wanted[i]); err == nil {
				err = a.ranges[family].take(addr)
			}
		} else {
			addr, err = a.ranges[family].any()
		}
		if err != nil {
			return fmt.Errorf("cluster address: %w", err)
		}
		chosen = append(chosen, addr.String())
	}
	s.Spec.ClusterIPs, s.Spec.ClusterIP = chosen, chosen[0]
	return nil
}
