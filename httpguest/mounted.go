// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What an application answers that does not know where it is mounted, put under its mount.

package httpguest

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"go.uber.org/zap"
)

// mountedHeaders are the headers with URLs and paths that an application answers.
var mountedHeaders = [...]struct {
	name string
	put  func(m *mounting, value string) string
}{
	{"Location", (*mounting).putURL},
	{"Content-Location", (*mounting).putURL},
	{"Link", (*mounting).putLink},
	{"Refresh", (*mounting).putRefresh},
	{"Set-Cookie", (*mounting).putCookie},
}

// mounting puts the headers of one response under the application's mount.
type mounting struct {
	*application
	host   string     // that the client asked for
	prefix string     // of the party, escaped
	before [][]string // what handlers in front of this one have set of mountedHeaders
}

// newMounting returns nil where nothing is stripped from the paths of the request, and the party has no prefix.
func (a *application) newMounting(w http.ResponseWriter, r *http.Request) *mounting {
	if !a.MountResponses {
		return nil
	}
	mount := a.invitation.MountFor(r.Context())
	if mount == "" {
		return nil
	}
	m := &mounting{application: a, host: r.Host, prefix: strings.TrimSuffix(mount, a.path), before: make([][]string, len(mountedHeaders))}
	for i, header := range mountedHeaders {
		m.before[i] = slices.Clone(w.Header()[header.name])
	}
	return m
}

// put changes what the application has set in the header. It may be called again.
func (m *mounting) put(h http.Header) {
	for i, header := range mountedHeaders {
		values, own := h[header.name], false
		for j, value := range values {
			if j < len(m.before[i]) && m.before[i][j] == value {
				continue
			}
			put := header.put(m, value)
			if put == value {
				continue
			}
			if !own { // a handler may set the same slice in each response
				values, own = slices.Clone(values), true
				h[header.name] = values
			}
			values[j] = put
		}
	}
}

// putURL returns a URL reference, of the application's own origin or none, under the mount. One that is relative to the
// request's path is so below the mount as well.
func (m *mounting) putURL(reference string) string {
	head := pathOf(reference)
	origin, path := m.cutOrigin(asBrowsersRead.Replace(head) + reference[len(head):])
	if origin != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if !strings.HasPrefix(path, "/") {
		return reference
	}
	path, rest := path[:len(pathOf(path))], path[len(pathOf(path)):]
	return origin + m.putPath(removeDotSegments(path)) + rest
}

// asBrowsersRead makes of what stands before a query what it is to browsers.
var asBrowsersRead = strings.NewReplacer("\t", "", `\`, "/")

// cutOrigin cuts the scheme and host off a URL of the origin that the application was asked at. It returns
// no path for one of another.
func (m *mounting) cutOrigin(reference string) (origin, path string) {
	start := strings.Index(reference, "//")
	if start < 0 {
		return "", reference
	}
	switch scheme := strings.ToLower(reference[:start]); scheme {
	case "http:", "https:", "":
	default:
		return "", reference // as /login?next=//x
	}
	end := strings.IndexAny(reference[start+2:], `/?#\`)
	if end < 0 {
		end = len(reference) - start - 2
	}
	end += start + 2
	if !m.isOwn(reference[start+2 : end]) {
		return "", ""
	}
	return reference[:end], reference[end:]
}

// isOwn reports whether that is the host that the client asked for, or the one of the guest's links.
func (m *mounting) isOwn(host string) bool {
	_, ofLinks, _ := strings.Cut(m.origin, "//")
	host = withoutDefaultPort(host)
	return strings.EqualFold(host, withoutDefaultPort(m.host)) || ofLinks != "" && strings.EqualFold(host, withoutDefaultPort(ofLinks))
}

func withoutDefaultPort(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil && (port == "80" || port == "443") {
		return name
	}
	return host
}

// putPath returns a path under the mount, unless it is already. That of an application which knows its place in the
// party only lacks the prefix.
func (m *mounting) putPath(path string) string {
	unescaped, err := url.PathUnescape(path)
	if err != nil {
		unescaped = path
	}
	prefix, _ := url.PathUnescape(m.prefix) // it is a part of a URL's escaped path
	switch {
	case invitepath.IsUnder(unescaped, prefix+m.stripped):
		return path
	case m.stripped != "" && invitepath.IsUnder(unescaped, m.stripped):
		return m.prefix + path
	}
	return m.prefix + m.path + path
}

// removeDotSegments returns a path as a browser goes to it: `/../x` is not above the root of an application, and
// not to be so when it is mounted.
func removeDotSegments(path string) string {
	if !strings.Contains(path, "/.") && !strings.Contains(path, "/%2") {
		return path
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// linkAnchor matches what says whose link it is. No quoted text has one in it, for its quotes are escaped.
var linkAnchor = regexp.MustCompile(`(?i);\s*anchor\s*=\s*"[^"\\]*"`)

// putLink puts the targets of a Link header (RFC 8288) under the mount: what stands in angle brackets, but not
// in quotes. So it does with their anchors.
func (m *mounting) putLink(value string) string {
	var b strings.Builder
	for value != "" {
		open := indexUnquoted(value, '<')
		if open < 0 {
			break
		}
		length := strings.IndexByte(value[open:], '>')
		if length < 0 {
			break
		}
		b.WriteString(value[:open+1])
		b.WriteString(m.putURL(strings.Trim(value[open+1:open+length], " \t"))) // as browsers do
		value = value[open+length:]
	}
	b.WriteString(value)
	return linkAnchor.ReplaceAllStringFunc(b.String(), func(anchor string) string {
		start := strings.IndexByte(anchor, '"') + 1
		return anchor[:start] + m.putURL(anchor[start:len(anchor)-1]) + `"`
	})
}

// indexUnquoted returns where the first c is that does not stand in quotes, or -1.
func indexUnquoted(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == c && !quoted:
			return i
		}
	}
	return -1
}

// putRefresh puts the URL of `5; url=/next` under the mount, as browsers read it: the semicolon, the word url and
// quotes may be missing.
func (m *mounting) putRefresh(value string) string {
	behindTime := strings.TrimLeft(strings.TrimLeft(value, " \t"), "0123456789.")
	target := strings.TrimLeft(behindTime, " \t")
	if strings.HasPrefix(target, ";") || strings.HasPrefix(target, ",") {
		target = strings.TrimLeft(target[1:], " \t")
	} else if target == behindTime { // nothing separates it from the time
		return value
	}
	if len(target) > 3 && strings.EqualFold(target[:3], "url") {
		if afterEquals, ok := strings.CutPrefix(strings.TrimLeft(target[3:], " \t"), "="); ok {
			target = strings.TrimLeft(afterEquals, " \t")
		}
	}
	before, after := value[:len(value)-len(target)], ""
	if target != "" && (target[0] == '"' || target[0] == '\'') {
		before, target = before+target[:1], target[1:]
		if end := strings.IndexByte(target, before[len(before)-1]); end >= 0 {
			target, after = target[:end], target[end:]
		}
	}
	return before + m.putURL(target) + after
}

// putCookie puts the path of a cookie under the mount. Browsers refuse a cookie of the name __Host-… with another path
// than /.
func (m *mounting) putCookie(value string) string {
	name, _, _ := strings.Cut(value, "=")
	name = strings.TrimSpace(name)
	attributes := strings.Split(value, ";")
	for i, attribute := range attributes[1:] {
		key, path, _ := strings.Cut(attribute, "=")
		trimmed := strings.TrimSpace(path)
		if !strings.EqualFold(strings.TrimSpace(key), "path") || !strings.HasPrefix(trimmed, "/") {
			continue
		}
		if len(name) >= 7 && strings.EqualFold(name[:7], "__Host-") {
			m.warnOfHostCookie(name)
			return value
		}
		put := m.putPath(trimmed)
		if trimmed == "/" { // the mount itself is the application's, too
			put = strings.TrimSuffix(put, "/")
		}
		attributes[i+1] = key + "=" + put
	}
	return strings.Join(attributes, ";")
}

func (m *mounting) warnOfHostCookie(name string) {
	m.hostCookie.Do(func() {
		m.logger.Warn("a cookie keeps the path /: browsers send it to all applications on the host", zap.String("cookie", name),
			zap.String("hint", "browsers accept a cookie whose name begins with __Host- only with Path=/: if other applications must not get it, have the application name it without __Host-"))
	})
}
