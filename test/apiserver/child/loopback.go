package child

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// Loopback returns an address for a test's server, free for TCP and UDP: a random address of 127.0.0.0/8
// with a random port below the ephemeral range (net.ipv4.ip_local_port_range), which the kernel gives to
// nobody who does not ask for it. So the address is still free when the server binds it, also after a restart.
func Loopback() (netip.AddrPort, error) {
	var err error
	for range 100 {
		// 127.16.0.0 to 127.239.255.255: clear of what distributions put there, 127.0.0.53 and the like.
		ip := netip.AddrFrom4([4]byte{127, byte(16 + rand.IntN(224)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
		addr := netip.AddrPortFrom(ip, uint16(10_000+rand.IntN(20_000)))
		if err = try(addr); err == nil {
			return addr, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("find a free loopback address: %w", err)
}

// try binds an address for both protocols and lets it go.
func try(addr netip.AddrPort) error {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	return udp.Close()
}
