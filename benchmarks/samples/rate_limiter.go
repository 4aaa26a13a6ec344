// Package ratelimit holds back callers that ask too often.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ErrClosed is returned by Wait once the limiter was closed.
var ErrClosed = errors.New("ratelimit: limiter is closed")

const usage = `limits are written as RATE/UNIT[:BURST]

	10/s       ten a second, no burst
	100/m:20   a hundred a minute, twenty at once
`

/*
Limiter is a token bucket. It fills at a steady rate up to its burst, and every
call takes one token out. The zero value lets nothing through.
*/
type Limiter struct {
	mu       sync.Mutex
	rate     float64 // tokens a second
	burst    float64
	tokens   float64
	last     time.Time
	now      func() time.Time
	isClosed bool
}

// Option changes a limiter while it is made.
type Option func(*Limiter)

// WithClock replaces the clock, for tests.
func WithClock(now func() time.Time) Option {
	return func(l *Limiter) {
		l.now = now
	}
}

// New makes a limiter whose bucket is full.
func New(rate, burst float64, options ...Option) *Limiter {
	limiter := &Limiter{
		rate:   rate,
		burst:  burst,
		tokens: burst,
		now:    time.Now,
	}
	for _, option := range options {
		option(limiter)
	}
	limiter.last = limiter.now()
	return limiter
}

// Allow takes a token if there is one, and says whether there was.
func (l *Limiter) Allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if l.isClosed || l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// Wait blocks until a token is free, the context ends or the limiter is closed.
func (l *Limiter) Wait(ctx context.Context) error {
	for {
		if l.Allow() {
			return nil
		}
		l.mu.Lock()
		isClosed, missing := l.isClosed, 1-l.tokens
		l.mu.Unlock()
		if isClosed {
			return ErrClosed
		}
		timer := time.NewTimer(time.Duration(missing / l.rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("ratelimit: gave up waiting: %w", ctx.Err())
		case <-timer.C:
		}
	}
}

// refill adds what has flowed in since the last call. The caller holds the lock.
func (l *Limiter) refill() {
	now := l.now()
	l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.rate)
	l.last = now
}

// Parse reads a limit such as "100/m:20".
func Parse(text string) (*Limiter, error) {
	rest, burstText, hasBurst := strings.Cut(text, ":")
	amount, unit, found := strings.Cut(rest, "/")
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	var count, burst float64
	if _, err := fmt.Sscan(amount, &count); err != nil || !found || seconds == 0 {
		return nil, fmt.Errorf("ratelimit: %q is no limit\n%s", text, usage)
	}
	if hasBurst {
		if _, err := fmt.Sscan(burstText, &burst); err != nil {
			return nil, fmt.Errorf("ratelimit: %q is no burst: %w", burstText, err)
		}
	}
	return New(count/seconds, max(1, burst)), nil
}
