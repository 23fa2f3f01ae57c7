package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// dialog is one relation with a peer (RFC 3261 12). It belongs to the goroutine
// of its leg.
type dialog struct {
	callID    string
	localTag  string
	remoteTag string // empty for a peer of RFC 2543
	localURI  sip.Uri
	remoteURI sip.Uri
	localSeq  uint32
	remoteSeq uint32
	target    sip.Uri   // where the peer wants its requests, refreshed by each offer
	routes    []sip.Uri // in the order in which our requests visit them

	network string         // "UDP" or "TCP"
	dest    netip.AddrPort // the flow: where the peer was last heard
	fixed   bool           // requests go to dest whatever Contact says: NAT, streams
}

// dialogKey finds the leg of a request from the peer: tags as the peer sees them
// are the other way round.
func dialogKey(callID, localTag, remoteTag string) string {
	return callID + "\x00" + localTag + "\x00" + remoteTag
}

func (d *dialog) key() string { return dialogKey(d.callID, d.localTag, d.remoteTag) }

// refresh takes the peer's new target from a request or response that carries one.
func (d *dialog) refresh(m interface{ Contact() *sip.ContactHeader }) {
	if c := m.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
		d.target = *c.Address.Clone()
	}
}

// routeSet takes the route set, once, from Record-Route: in order for the called
// side, reversed for the calling side (RFC 3261 12.1).
func (d *dialog) routeSet(m sip.Message, reverse bool) (strict bool) {
	for _, h := range m.GetHeaders("Record-Route") {
		rr, ok := h.(*sip.RecordRouteHeader)
		if !ok {
			continue
		}
		if !rr.Address.UriParams.Has("lr") {
			strict = true
		}
		d.routes = append(d.routes, *rr.Address.Clone())
	}
	if reverse {
		for i, j := 0, len(d.routes)-1; i < j; i, j = i+1, j-1 {
			d.routes[i], d.routes[j] = d.routes[j], d.routes[i]
		}
	}
	return strict
}

// hop is where the next request is sent. A name is never looked up here: then,
// and for whatever lives behind NAT, it is the flow.
func (d *dialog) hop() netip.AddrPort {
	if d.fixed {
		return d.dest
	}
	next := d.target
	if len(d.routes) > 0 {
		next = d.routes[0]
	}
	ip, err := netip.ParseAddr(strings.Trim(next.Host, "[]"))
	if err != nil || ip.IsUnspecified() || ip.IsMulticast() {
		return d.dest
	}
	port := next.Port
	if port == 0 {
		port = 5060
	}
	if port < 1 || port > 65535 {
		return d.dest
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// request makes the next request of the dialog; ACK and CANCEL keep the number.
func (s *Server) request(d *dialog, method sip.RequestMethod) *sip.Request {
	if method != sip.ACK {
		d.localSeq++
	}
	return s.requestSeq(d, method, d.localSeq)
}

func (s *Server) requestSeq(d *dialog, method sip.RequestMethod, seq uint32) *sip.Request {
	req := sip.NewRequest(method, d.target)
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: d.network,
		Host: hostOf(s.advertise.Addr()), Port: int(s.advertise.Port()), Params: sip.NewParams(),
	}
	via.Params.Add("branch", sip.GenerateBranch())
	via.Params.Add("rport", "")
	req.AppendHeader(via)
	for _, r := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	maxForwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	from := &sip.FromHeader{Address: *d.localURI.Clone(), Params: sip.NewParams()}
	from.Params.Add("tag", d.localTag)
	req.AppendHeader(from)
	to := &sip.ToHeader{Address: *d.remoteURI.Clone(), Params: sip.NewParams()}
	if d.remoteTag != "" {
		to.Params.Add("tag", d.remoteTag)
	}
	req.AppendHeader(to)
	callID := sip.CallIDHeader(d.callID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	if method != sip.BYE && method != sip.CANCEL {
		req.AppendHeader(s.contact(d.network))
	}
	req.AppendHeader(sip.NewHeader("User-Agent", agent))
	req.SetBody(nil)
	s.direct(req, d.network, d.hop())
	return req
}

// direct sets the way of a request: by the listening socket for datagrams (T19),
// by the connection to that address for streams (T20).
func (s *Server) direct(req *sip.Request, network string, to netip.AddrPort) {
	req.SetTransport(network)
	req.SetDestination(to.String())
	if network == "UDP" {
		req.Laddr = sip.Addr{IP: s.listen.Addr().AsSlice(), Port: int(s.listen.Port())}
	}
}

// transact sends a request and calls deliver for each answer, and once with an
// error when the transaction ends without a final one. It never blocks; deliver
// runs in the transaction's goroutine, which reads until the end (T11).
func (s *Server) transact(req *sip.Request, deliver func(*sip.Response, error)) {
	s.transactStop(req, deliver)
}

// transactStop is transact with a way to end it: an INVITE that was answered with
// 1xx has no timer of its own.
func (s *Server) transactStop(req *sip.Request, deliver func(*sip.Response, error)) (stop func()) {
	if !s.begin() {
		go deliver(nil, errClosed)
		return func() {}
	}
	ctx, cancel := context.WithCancel(s.life)
	go func() {
		defer s.running.Done()
		defer s.caught("client transaction")
		defer cancel()
		if err := composed(req); err != nil {
			deliver(nil, err)
			return
		}
		// Before sipgo knows our socket it would open another one.
		select {
		case <-s.udp.ready:
		case <-ctx.Done():
			deliver(nil, fmt.Errorf("send %s: %w", req.Method, ctx.Err()))
			return
		}
		tx, err := s.ua.TransactionLayer().Request(ctx, req)
		if err != nil {
			deliver(nil, fmt.Errorf("send %s: %w", req.Method, err))
			return
		}
		if req.IsInvite() {
			// Under the transaction's lock (T4): deliver must not wait there.
			tx.OnRetransmission(func(res *sip.Response) { go deliver(res, nil) })
		}
		for {
			select {
			case res := <-tx.Responses():
				deliver(res, nil)
				if res.StatusCode < 200 {
					continue
				}
				if !req.IsInvite() {
					tx.Terminate()
				}
				return
			case <-tx.Done():
				err := tx.Err()
				if err == nil {
					err = errClosed
				}
				deliver(nil, fmt.Errorf("%s: %w", req.Method, err))
				return
			case <-ctx.Done():
				tx.Terminate()
				deliver(nil, fmt.Errorf("%s: %w", req.Method, ctx.Err()))
				return
			}
		}
	}()
	return cancel
}

// send writes a request outside any transaction: the ACK of a 2xx.
func (s *Server) send(req *sip.Request) {
	write := func() {
		if err := s.ua.TransportLayer().WriteMsg(req); err != nil {
			s.log.Debug("send "+string(req.Method), zap.Error(err))
		}
	}
	if req.Transport() == "UDP" {
		write()
		return
	}
	if s.begin() { // a stream may have to be opened, and a full one blocks
		go func() {
			defer s.running.Done()
			write()
		}()
	}
}

// composed is the last look at what leaves (T31): no value of a peer that we put
// into a request may hold a line break.
func composed(req *sip.Request) error {
	if err := safe(req.Recipient.String()); err != nil {
		return fmt.Errorf("request-uri: %w", err)
	}
	for _, h := range req.Headers() {
		if err := safe(h.Value()); err != nil {
			return fmt.Errorf("%s: %w", h.Name(), err)
		}
	}
	return nil
}

// sessionInterval reads Session-Expires and its refresher (RFC 4028 4).
func sessionInterval(m sip.Message) (seconds int, refresher string) {
	hs := m.GetHeaders("Session-Expires")
	if len(hs) == 0 {
		return 0, ""
	}
	value, params, _ := strings.Cut(hs[0].Value(), ";")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 0 {
		return 0, ""
	}
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return n, refresher
}

// reasonOf is why the peer says it ends (RFC 3326).
func reasonOf(m sip.Message) string {
	if hs := m.GetHeaders("Reason"); len(hs) > 0 {
		return maskText(hs[0].Value(), 120)
	}
	return ""
}

func tagOf(p sip.HeaderParams) string { v, _ := p.Get("tag"); return v }
