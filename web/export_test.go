package web

import "context"

// SetRoom bounds the live channels.
func (s *Server) SetRoom(n int) { s.hub.ask(context.Background(), func() { s.hub.room = n }) }
