//go:build unix

package media

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// expedited is DSCP EF, the class of voice (RFC 4594 2.3), as a TOS byte.
const expedited = 46 << 2

// listenUDP binds one address, with its packets marked as voice where permitted.
func listenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	c := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			// Not permitted is no reason to refuse a call.
			if network == "udp6" {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, expedited)
			} else {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, expedited)
			}
		})
	}}
	conn, err := c.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
