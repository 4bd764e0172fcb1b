package main

import (
	"context"
	"html/template"
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/op"
)

const sessionCookie = "zitadel_lab_session"

// One page with one form, or a sentence.
var page = template.Must(template.New("").Parse(`<!doctype html><title>Sign in</title>
{{if .Action}}<form method="post" action="{{.Action}}">
{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}{{range .Asked}}<input name="{{.}}">
{{end}}<button>Continue</button></form>{{end}}<p>{{.Sentence}}</p>`))

type shown struct {
	Action   string
	Hidden   map[string]string
	Asked    []string
	Sentence string
}

type pages struct {
	store    *store
	callback func(context.Context, string) string
}

func (p pages) register(mux *http.ServeMux, issuer *op.IssuerInterceptor) {
	mux.HandleFunc("GET /login", issuer.HandlerFunc(p.login))
	mux.HandleFunc("POST /login", issuer.HandlerFunc(p.login))
	mux.HandleFunc("GET /device", p.showDevice)
	mux.HandleFunc("POST /device", p.device)
	mux.HandleFunc("GET /signed-out", func(w http.ResponseWriter, _ *http.Request) {
		page.Execute(w, shown{Sentence: "You are signed out."})
	})
}

func sessionOf(r *http.Request) string {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		return cookie.Value
	}
	return ""
}

// signedIn is the session of the browser, or one by the name and password that it brings.
func (p pages) signedIn(w http.ResponseWriter, r *http.Request) *session {
	if r.FormValue("login") == "" {
		return p.store.session(sessionOf(r))
	}
	made := p.store.signIn(r.FormValue("login"), r.FormValue("password"))
	if made != nil {
		http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: made.id, Path: "/", HttpOnly: true})
	}
	return made
}

func (p pages) login(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	p.store.lock.Lock()
	asked := p.store.requests[id]
	p.store.lock.Unlock()
	if asked == nil {
		http.Error(w, "no such sign-in", http.StatusBadRequest)
		return
	}
	again := slices.Contains(asked.Prompt, "login") && r.Method == http.MethodGet
	by := p.signedIn(w, r)
	if by == nil || again {
		page.Execute(w, shown{"/login", map[string]string{"id": id}, []string{"login", "password"}, "Who are you?"})
		return
	}
	p.store.lock.Lock()
	asked.by = by
	p.store.lock.Unlock()
	http.Redirect(w, r, p.callback(r.Context(), id), http.StatusFound)
}

// The code is confirmed before anybody signs in.
func (p pages) showDevice(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("user_code")
	form := shown{Action: "/device", Asked: []string{"user_code"}, Sentence: "Enter the code of your device."}
	if code != "" {
		form.Asked, form.Hidden, form.Sentence = nil, map[string]string{"user_code": code}, "Is this the code?"
	}
	page.Execute(w, form)
}

func (p pages) device(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("user_code")
	by := p.signedIn(w, r)
	switch {
	case by == nil:
		page.Execute(w, shown{"/device", map[string]string{"user_code": code}, []string{"login", "password"}, "Who are you?"})
	case p.store.completeDevice(code, by):
		page.Execute(w, shown{Sentence: "You are signed in; go back to your device."})
	default:
		page.Execute(w, shown{Sentence: "This code is not known any more."})
	}
}
