//go:build !unix

package media

import (
	"net"
	"net/netip"
)

// listenUDP binds one address.
func listenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
}
