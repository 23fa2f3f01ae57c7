package web

import "context"

// ChoresSize is how many chores may wait for the hub.
const ChoresSize = choresSize

// Busy keeps the hub from its work until the returned function is called.
func (s *Server) Busy() (free func()) {
	busy, done := make(chan struct{}), make(chan struct{})
	s.hub.asked <- func() { close(busy); <-done }
	<-busy
	return func() { close(done) }
}

// SetRoom bounds the live channels.
func (s *Server) SetRoom(n int) { s.hub.ask(context.Background(), func() { s.hub.room = n }) }
