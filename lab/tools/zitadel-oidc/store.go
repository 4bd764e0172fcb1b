package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// session is one of a browser, and of everything that was signed in by it.
type session struct {
	id, subject string
	at          time.Time
}

// request is a sign-in by code that is under way.
type request struct {
	*oidc.AuthRequest
	id, code string
	by       *session
}

// chain is what one sign-in has: a refresh token at a time. Whoever brings one that was used before ends the chain.
type chain struct {
	client string
	scopes []string
	by     *session
	token  string
	used   []string
	over   bool
}

type store struct {
	config   Config
	key      signingKey
	lock     sync.Mutex
	sessions map[string]*session
	requests map[string]*request
	chains   []*chain
	devices  map[string]*op.DeviceAuthorizationState
	codes    map[string]*op.DeviceAuthorizationState
	deviceBy map[*op.DeviceAuthorizationState]*session
	disabled map[string]bool
	control  control
}

var errUnknown = errors.New("unknown, over, or of somebody who is disabled")

func newStore(config Config) *store {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return &store{
		config:   config,
		key:      signingKey{private, rand.Text()},
		sessions: map[string]*session{},
		requests: map[string]*request{},
		devices:  map[string]*op.DeviceAuthorizationState{},
		codes:    map[string]*op.DeviceAuthorizationState{},
		deviceBy: map[*op.DeviceAuthorizationState]*session{},
		disabled: map[string]bool{},
		control:  control{backchannels: map[string]backchannel{}},
	}
}

func (s *store) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(asked.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired()
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	made := &request{AuthRequest: asked, id: rand.Text()}
	s.requests[made.id] = made
	return made, nil
}

func (s *store) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if found, ok := s.requests[id]; ok {
		return found, nil
	}
	return nil, errUnknown
}

func (s *store) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, one := range s.requests {
		if one.code != "" && one.code == code && s.may(one.by) {
			return one, nil
		}
	}
	return nil, errUnknown
}

func (s *store) SaveAuthCode(_ context.Context, id, code string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.requests[id].code = code
	return nil
}

func (s *store) DeleteAuthRequest(_ context.Context, id string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.requests, id)
	return nil
}

// may says whether what a session has brought is still good. The lock is held.
func (s *store) may(by *session) bool { return by != nil && !s.disabled[by.subject] }

func (s *store) sessionBehind(of any) *session {
	switch one := of.(type) {
	case *request:
		return one.by
	case *refresh:
		return one.by
	case *op.DeviceAuthorizationState:
		return s.deviceBy[one]
	}
	return nil
}

func (s *store) CreateAccessToken(_ context.Context, request op.TokenRequest) (string, time.Time, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.accessToken(request)
}

func (s *store) accessToken(request op.TokenRequest) (string, time.Time, error) {
	// A device code is good once.
	if state, ok := request.(*op.DeviceAuthorizationState); ok {
		if !s.may(s.deviceBy[state]) {
			return "", time.Time{}, oidc.ErrAccessDenied()
		}
		for code, one := range s.devices {
			if one == state {
				delete(s.devices, code)
			}
		}
	}
	return rand.Text(), time.Now().Add(5 * time.Minute), nil
}

func (s *store) CreateAccessAndRefreshTokens(_ context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	id, expires, err := s.accessToken(request)
	if err != nil {
		return "", "", expires, err
	}
	token := rand.Text()
	if renewed, ok := request.(*refresh); ok {
		renewed.used = append(renewed.used, current)
		renewed.token = token
		return id, token, expires, nil
	}
	client := request.(op.IDTokenRequest).GetClientID()
	s.chains = append(s.chains, &chain{client: client, scopes: request.GetScopes(), by: s.sessionBehind(request), token: token})
	return id, token, expires, nil
}

func (s *store) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, one := range s.chains {
		if slices.Contains(one.used, token) {
			one.over = true
		}
		if one.token == token && !one.over && s.may(one.by) {
			return &refresh{one, one.scopes}, nil
		}
	}
	return nil, errUnknown
}

func (s *store) GetRefreshTokenInfo(_ context.Context, client, token string) (string, string, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, one := range s.chains {
		if one.token == token && one.client == client {
			return one.by.subject, token, nil
		}
	}
	return "", "", op.ErrInvalidRefreshToken
}

func (s *store) RevokeToken(_ context.Context, token, _, client string) *oidc.Error {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, one := range s.chains {
		if one.token == token && one.client == client {
			one.over = true
		}
	}
	return nil
}

func (s *store) StoreDeviceAuthorization(_ context.Context, client, deviceCode, userCode string, expires time.Time, scopes []string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	state := &op.DeviceAuthorizationState{ClientID: client, Scopes: scopes, Expires: expires}
	s.devices[deviceCode], s.codes[userCode] = state, state
	return nil
}

func (s *store) GetDeviceAuthorizatonState(_ context.Context, client, code string) (*op.DeviceAuthorizationState, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if found, ok := s.devices[code]; ok && found.ClientID == client {
		return found, nil
	}
	return nil, errUnknown
}

// completeDevice is what the person confirms.
func (s *store) completeDevice(userCode string, by *session) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	state, ok := s.codes[userCode]
	if !ok || time.Now().After(state.Expires) {
		return false
	}
	delete(s.codes, userCode)
	s.deviceBy[state] = by
	state.Subject, state.AuthTime, state.AMR, state.Done = by.subject, by.at, methods, true
	return true
}

// signIn opens a session; nil where nobody of this name may.
func (s *store) signIn(subject, password string) *session {
	s.lock.Lock()
	defer s.lock.Unlock()
	if _, known := s.config.People[subject]; !known || password == "" || s.disabled[subject] {
		return nil
	}
	made := &session{rand.Text(), subject, time.Now()}
	s.sessions[made.id] = made
	return made
}

func (s *store) session(id string) *session {
	s.lock.Lock()
	defer s.lock.Unlock()
	if found := s.sessions[id]; s.may(found) {
		return found
	}
	return nil
}

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	for _, one := range s.config.Clients {
		if one.ID == id {
			return one, nil
		}
	}
	return nil, errUnknown
}

func (s *store) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	by := s.sessionBehind(request)
	if by == nil {
		return errUnknown
	}
	info.Subject = by.subject
	info.AppendClaims("sid", by.id)
	person := s.config.People[by.subject]
	if slices.Contains(scopes, "email") {
		info.Email, info.EmailVerified = person.Email, true
	}
	if slices.Contains(scopes, "groups") {
		info.AppendClaims("groups", person.Groups)
	}
	return nil
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }
func (s *store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}
func (s *store) KeySet(context.Context) ([]op.Key, error) { return []op.Key{publicKey{s.key}}, nil }
