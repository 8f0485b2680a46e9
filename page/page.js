"use strict";
// Draws a party. What comes from guests goes into the page as text only.
(() => {
	const mostServices = 24, mostNodes = 30, mostTroubles = 12, mostRows = 300, manyGuests = 40;
	const others = "others"; // callers that are not guests
	const thisNode = "this node"; // where guests are that are here, as the server has it
	const choices = { guest: "Only guest", service: "Only service", node: "Only node" };
	const id = (name) => document.getElementById(name);
	const chosen = { find: "", guest: "", service: "", node: "" };
	const choice = () => Object.keys(choices).find((kind) => chosen[kind]);
	let shown = null, etag = "", before = new Map(), paused = false, timer = 0, controller = null, lastGood = null;

	// Each of these formats thousands of times: toLocaleString would set up a new one each time.
	const number = new Intl.NumberFormat("en").format;
	const byName = new Intl.Collator("en", { numeric: true }).compare;
	const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format;
	const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
	const time = (text) => dates.format(new Date(text));
	const plural = (n, one, many) => number(n) + " " + (n === 1 ? one : many);

	function make(tag, className, text) {
		const element = document.createElement(tag);
		if (className) element.className = className;
		if (text !== undefined) element.textContent = text;
		return element;
	}

	function setText(element, text) {
		if (element.textContent !== text) element.textContent = text;
	}

	// sync makes the children of an element those of the items, and keeps each that has the same key, so that
	// focus and scrolling stay where they are.
	function sync(parent, items, key, create, update) {
		const had = parent.kept || new Map(), kept = new Map(), wanted = new Set(items.map(key));
		for (const [name, element] of had) if (!wanted.has(name)) element.remove(); // first: what is moved loses the focus
		let place = parent.firstChild;
		for (const item of items) {
			const name = key(item);
			if (kept.has(name)) continue;
			const element = had.get(name) || create(item);
			kept.set(name, element);
			update(element, item);
			if (element === place) place = place.nextSibling;
			else parent.insertBefore(element, place);
		}
		parent.kept = kept;
	}

	// What is to be said of a guest.
	const results = { joined: "joined", not_answered: "nobody answered the invite", refused: "the invite was refused", failed: "the invite failed" };
	const conditions = {
		not_answering: (service) => "does not answer “" + service + "”: asks for it fail at once for a while",
		overloaded: () => "is asked more than it can answer: some asks are refused",
		upstream_down: () => "answers only some asks: one of its upstreams is down",
		down: () => "is down: its requests are left to others",
	};

	function troublesOf(guest) {
		const troubles = [];
		for (const i of guest.invites) {
			const came = i.uri + ": " + (results[i.result] || i.result) + (i.status ? ", status " + i.status : "");
			if (i.old_manifest) {
				troubles.push({ bad: false, says: "is on the line by its last manifest, confirmed " + time(i.old_manifest), detail: i.result === "joined" ? "Its application does not confirm it now." : came, error: i.error, hint: i.hint });
			} else if (i.result !== "joined") {
				troubles.push({ bad: !guest.on_line, says: guest.on_line ? "is on the line, but not by this invite" : "has not joined", detail: came, error: i.error, hint: i.hint });
			} else if (i.hint) {
				troubles.push({ bad: false, says: "has joined, with a hint", error: i.error, hint: i.hint });
			}
		}
		for (const c of guest.conditions) {
			troubles.push({ bad: true, says: (conditions[c.condition] || (() => c.condition))(c.service), error: c.error });
		}
		return troubles;
	}

	function stateOf(guest) {
		if (!guest.on_line) return ["bad", "✕", "not joined"];
		if (guest.conditions.length > 0) return ["bad", "▲", guest.conditions[0].condition.replaceAll("_", " ")];
		const i = guest.invites.find((i) => i.result !== "joined" || i.old_manifest || i.hint);
		if (i) return ["odd", "◆", i.old_manifest ? "joined, by its last manifest" : i.result !== "joined" ? "joined, one invite failed" : "joined, with a hint"];
		return ["good", "●", "joined"];
	}

	function drawTroubles(guests) {
		const all = guests.flatMap((guest) => troublesOf(guest).map((trouble, n) => ({ guest, trouble, key: guest.guest + "\n" + n })));
		all.sort((a, b) => b.trouble.bad - a.trouble.bad);
		id("attention").hidden = all.length === 0;
		setText(id("attention-title"), "Needs attention (" + all.length + ")");
		drawList(id("troubles"), all.slice(0, mostTroubles), all.length, ({ guest, trouble }) => [trouble.bad ? "bad" : "odd", guest.guest, trouble.says, [["detail", trouble.detail], ["error", trouble.error], ["hint", trouble.hint]]]);
	}

	function drawFailures(replies) {
		const all = replies.filter((r) => r.failed + r.refused > 0).map((r) => ({ r, key: r.guest + "\n" + r.service }));
		id("errors").hidden = all.length === 0;
		drawList(id("failures"), all.slice(0, mostTroubles), all.length, ({ r }) => ["bad", r.guest,
			(r.failed ? "failed " + number(r.failed) : "") + (r.failed && r.refused ? " and " : "") + (r.refused ? "refused " + number(r.refused) : "") + " of " + plural(r.asked, "ask", "asks") + " for “" + r.service + "”", [["error", r.last_error]]]);
	}

	function drawList(list, items, all, describe) {
		if (all > items.length) items = [...items, { key: "", rest: all - items.length }];
		sync(list, items, (item) => item.key, () => make("li"), (li, item) => {
			const [kind, name, says, lines] = item.rest ? ["odd", "", number(item.rest) + " more: filter for some of them", []] : describe(item);
			const text = JSON.stringify([kind, name, says, lines]);
			if (li.text === text) return;
			li.text = text;
			li.className = kind;
			const title = make("p", "title");
			title.append(kind === "bad" ? "▲ " : "◆ ", make("bdi", "", name), " " + says);
			li.replaceChildren(title, ...lines.filter(([, text]) => text).map(([kind, text]) => make("p", kind, text)));
		});
	}

	// The diagram: edges by service, the services that are asked for most.
	function edgesOf(d) {
		const services = new Map();
		const of = (name) => services.get(name) || services.set(name, { name, asks: 0, asked: 0, bad: 0, askers: [], replies: [] }).get(name);
		for (const a of d.askers) {
			const s = of(a.service);
			s.askers.push(a);
			s.asks += a.asks;
		}
		for (const r of d.replies) {
			const s = of(r.service);
			s.replies.push(r);
			s.asked += r.asked;
			s.bad += r.failed + r.refused;
		}
		for (const s of d.services) {
			const known = of(s.service);
			known.asks = Math.max(known.asks, s.asks);
			known.asked = Math.max(known.asked, s.asked);
			known.bad = Math.max(known.bad, s.failed + s.refused);
			const replying = new Set(known.replies.map((r) => r.guest));
			for (const guest of s.guests) {
				if (!replying.has(guest) && (!chosen.guest || guest === chosen.guest || known.asks)) known.replies.push({ guest, service: s.service, asked: 0, answered: 0, declined: 0, failed: 0, refused: 0 });
			}
		}
		const all = [...services.values()].sort((a, b) => b.bad - a.bad || b.asks - a.asks || b.asked - a.asked || byName(a.name, b.name));
		return all;
	}

	function column(services, edges) {
		const nodes = new Map();
		services.forEach((s, place) => {
			for (const e of edges(s)) {
				const node = nodes.get(e.guest) || nodes.set(e.guest, { name: e.guest, n: 0, sum: 0, weight: 0 }).get(e.guest);
				const n = e.asks ?? e.asked;
				node.n += n;
				node.sum += place * (n + 1);
				node.weight += n + 1;
			}
		});
		const all = [...nodes.values()].sort((a, b) => b.n - a.n || byName(a.name, b.name));
		return [all.slice(0, mostNodes).sort((a, b) => a.sum / a.weight - b.sum / b.weight || byName(a.name, b.name)), Math.max(0, all.length - mostNodes)];
	}

	function node(kind) {
		return () => {
			const li = make("li"), button = make("button", "node");
			button.type = "button";
			const name = make("bdi", "name"), on = make("bdi", "on"), n = make("span", "number");
			button.append(name, on, n);
			li.append(button);
			button.addEventListener("click", () => choose(kind, li.named));
			return li;
		};
	}

	function updateNode(kind, guests) {
		return (li, item) => {
			li.named = item.name;
			const button = li.firstChild, [name, on, n] = button.children;
			const text = item.name || others;
			setText(name, text);
			setText(n, item.n ? compact(item.n) : "");
			const guest = guests && guests.get(item.name), state = guest && stateOf(guest);
			setText(on, guest && guest.node ? "on " + guest.node : "");
			button.title = item.name ? text + (guest && guest.node ? " on node " + guest.node : "") + (state ? ", " + state[2] : "") : "pages, the admin API, and other callers that are not guests; and guests beyond 4,096 pairs of guest and service";
			button.disabled = item.name === "";
			li.className = item.name ? "" : "nobody";
			button.setAttribute("aria-pressed", String(item.name !== "" && chosen[kind] === item.name));
		};
	}

	let edges = [];
	function drawDiagram(d) {
		const all = edgesOf(d), services = all.slice(0, mostServices);
		const guests = new Map(d.guests.map((g) => [g.guest, g]));
		const [askers, moreAskers] = column(services, (s) => s.askers), [answerers, moreAnswerers] = column(services, (s) => s.replies);
		sync(id("askers"), askers, (a) => a.name, node("guest"), updateNode("guest", guests));
		sync(id("services"), services.map((s) => ({ name: s.name, n: s.asks })), (s) => s.name, node("service"), updateNode("service"));
		sync(id("answerers"), answerers, (a) => a.name, node("guest"), updateNode("guest", guests));
		id("asks").hidden = services.length === 0;
		const left = Math.max(0, d.services.length + (d.left_off.services || 0) - services.length), edgesLeft = moreAskers + moreAnswerers + (d.left_off.askers || 0) + (d.left_off.replies || 0);
		setText(id("more"), left + edgesLeft > 0 ? "Shown is what fails, and what is asked for most" + (left > 0 ? "; " + plural(left, "service is", "services are") + " left out" : "") + ". Filter, or choose a guest or a service, for the rest." : "");
		edges = [];
		for (const s of services) {
			for (const a of s.askers) edges.push({ key: "a\n" + a.guest + "\n" + s.name, from: ["askers", a.guest], to: ["services", s.name], n: a.asks, parts: [["asked", a.asks]] });
			for (const r of s.replies) edges.push({ key: "r\n" + r.guest + "\n" + s.name, from: ["services", s.name], to: ["answerers", r.guest], n: r.asked, parts: [["answered", r.answered], ["declined", r.declined], ["failed", r.failed + r.refused]] });
		}
		for (const e of edges) {
			e.now = before.has(e.key) && before.get(e.key) < e.n;
		}
		before = new Map(edges.map((e) => [e.key, e.n]));
		drawLines();
		drawTable(services);
	}

	const svg = "http://www.w3.org/2000/svg";
	let drawn = "";
	function drawLines() {
		const area = id("diagram").getBoundingClientRect();
		const most = Math.max(1, ...edges.map((e) => e.n));
		const thin = area.width < 500 ? 0.6 : 1;
		const width = (n) => thin * (1.5 + 8 * Math.log1p(n) / Math.log1p(most));
		const boxes = new Map();
		const box = ([list, name]) => {
			const key = list + "\n" + name;
			if (!boxes.has(key)) {
				const li = id(list).kept && id(list).kept.get(name);
				boxes.set(key, li ? li.firstChild.getBoundingClientRect() : null);
			}
			return boxes.get(key);
		};
		const lines = [];
		for (const e of edges) {
			const from = box(e.from), to = box(e.to);
			if (!from || !to) continue;
			const parts = e.parts.filter(([, n]) => n > 0);
			if (parts.length === 0) parts.push(["none", 0]);
			for (const [kind, n] of parts) lines.push({ kind, now: e.now, width: kind === "none" ? 1 : width(n), from, to, y1: 0, y2: 0 });
		}
		spread(lines, "from", "to", "y1");
		spread(lines, "to", "from", "y2");
		const paths = lines.map(({ kind, now, width, from, to, y1, y2 }) => {
			const head = Math.max(4, width * 1.4) * thin + 2, half = head / 1.6;
			const x1 = from.right - area.left, x2 = to.left - area.left - head, bend = (x1 + x2) / 2;
			const [x1s, x2s, bends, y1s, y2s] = [x1, x2, bend, y1 - area.top, y2 - area.top].map((n) => n.toFixed(1));
			return [kind, now, width, `M${x1s} ${y1s}C${bends} ${y1s} ${bends} ${y2s} ${x2s} ${y2s}`, `M${x2s} ${(y2 - area.top - half).toFixed(1)}l${head.toFixed(1)} ${half.toFixed(1)}l${(-head).toFixed(1)} ${half.toFixed(1)}z`];
		});
		const text = JSON.stringify(paths);
		if (text === drawn) return;
		drawn = text;
		id("lines").replaceChildren(...paths.flatMap(([kind, now, w, line, head]) => {
			const path = document.createElementNS(svg, "path"), arrow = document.createElementNS(svg, "path");
			path.setAttribute("class", "edge " + kind + (now ? " now" : ""));
			path.setAttribute("d", line);
			path.style.strokeWidth = w + "px";
			arrow.setAttribute("class", "head " + kind);
			arrow.setAttribute("d", head);
			return [path, arrow];
		}));
	}

	// spread has the lines that end at the same box end there one below the other, in the order of the boxes they come from.
	function spread(lines, end, other, y) {
		const ending = Map.groupBy(lines, (line) => line[end]);
		for (const [box, these] of ending) {
			these.sort((a, b) => a[other].top - b[other].top);
			const whole = these.reduce((sum, line) => sum + line.width + 2, -2), room = box.height - 6, scale = Math.min(1, room / whole);
			let at = box.top + box.height / 2 - whole * scale / 2;
			for (const line of these) {
				line[y] = at + line.width * scale / 2;
				at += (line.width + 2) * scale;
			}
		}
	}

	function drawTable(services) {
		if (!id("table").open) return;
		const rows = services.flatMap((s) => [
			...s.askers.map((a) => ({ key: "a\n" + a.guest + "\n" + s.name, cells: [s.name, a.guest || others, a.asks, "", "", "", "", ""] })),
			...s.replies.map((r) => ({ key: "r\n" + r.guest + "\n" + s.name, cells: [s.name, r.guest, "", r.asked, r.answered, r.declined, r.failed, r.refused] })),
		]).slice(0, mostRows);
		sync(id("rows"), rows, (r) => r.key, (r) => {
			const tr = make("tr");
			r.cells.forEach((_, i) => tr.append(make("td", i < 2 ? "" : "count")));
			return tr;
		}, (tr, r) => r.cells.forEach((cell, i) => {
			const td = tr.children[i];
			setText(td, typeof cell === "number" ? number(cell) : cell);
			if (i === 5) td.className = cell ? "count declined" : "count";
			if (i > 5) td.className = cell ? "count failed" : "count";
		}));
	}

	function drawGuests(d) {
		const guests = d.guests;
		id("guests").hidden = false;
		document.body.classList.toggle("dense", guests.length > manyGuests);
		setText(id("guests-title"), "Guests (" + number(guests.length + (d.left_off.guests || 0)) + ")");
		setText(id("more-guests"), d.left_off.guests ? plural(d.left_off.guests, "more guest", "more guests") + ": filter for some of them." : guests.length === 0 ? (chosen.find ? "No guest, path or service has this in its name." : "Nobody is invited, and nobody has joined.") : "");
		sync(id("boxes"), byNode(guests, d.left_off.guests), (g) => g.title ? "node\n" + g.title : "guest\n" + g.guest, (g) => {
			if (g.title) return makeNodeTitle(g);
			const li = make("li"), box = make("button", "box");
			box.type = "button";
			const name = make("bdi", "name"), state = make("span", "state"), mount = make("span", "mount"), services = make("span", "services"), counts = make("span", "counts"), joined = make("span", "joined"), error = make("span", "error"), traffic = make("span", "traffic"), share = make("span", "share");
			name.style.display = "block";
			share.append(make("i"));
			box.append(name, state, mount, services, counts, traffic, share, error, joined);
			box.addEventListener("click", () => choose("guest", g.guest));
			li.append(box);
			return li;
		}, (li, g) => {
			if (g.title) return updateNodeTitle(li, g);
			const pressed = chosen.guest === g.guest, text = JSON.stringify([g, pressed, d.traffic_since]);
			if (li.text === text) return;
			li.text = text;
			const [name, state, mount, services, counts, traffic, share, error, joined] = li.firstChild.children;
			setText(name, g.guest);
			const [kind, sign, says] = stateOf(g);
			setText(state, sign + " " + says);
			state.className = "state " + kind;
			const where = [g.mount && "at " + g.mount, g.node && "on node " + g.node].filter(Boolean).join(", ");
			setText(mount, where || (g.invites.length ? "invited at " + g.invites[0].uri : "a module, not invited"));
			const more = g.service_count - g.services.length;
			setText(services, g.services.length ? (g.service_count === 1 ? "Service: " : "Services: ") + g.services.join(", ") + (more > 0 ? ", and " + number(more) + " more" : "") : "No services");
			setText(counts, "asks " + compact(g.asks) + " · is asked " + compact(g.asked) + (g.declined ? " · ◇ declined " + compact(g.declined) : "") + (g.failed + g.refused ? " · ▲ failed " + compact(g.failed + g.refused) : ""));
			const metered = d.traffic_since && g.requests > 0;
			traffic.hidden = share.hidden = !metered;
			if (metered) {
				setText(traffic, plural(g.requests, "request", "requests") + ", " + (g.share * 100).toFixed(1) + " % of the party’s" + (g.server_errors ? " · ▲ " + plural(g.server_errors, "server error", "server errors") : ""));
				share.firstChild.style.width = g.share * 100 + "%";
			}
			error.hidden = !g.last_error;
			setText(error, g.last_error ? "Last error: " + g.last_error : "");
			joined.hidden = !g.on_line;
			setText(joined, g.on_line ? "on the line since " + time(g.joined) + (g.replicas > 1 ? ", " + g.replicas + " replicas" : "") : "");
			li.firstChild.setAttribute("aria-pressed", String(pressed));
		});
	}

	// byNode returns the guests node by node, each with a title, if some are on other nodes. More may be left off.
	function byNode(guests, more) {
		if (!chosen.node && !guests.some((g) => g.node)) return guests;
		const nodes = [...Map.groupBy(guests, (g) => g.node || "")].sort(([a], [b]) => byName(a, b));
		return nodes.flatMap(([node, on]) => [{ title: node || thisNode, n: more ? "" : plural(on.length, "guest", "guests") }, ...on]);
	}

	function makeNodeTitle(node) {
		const li = make("li", "on-node"), title = make("h3"), button = make("button");
		button.type = "button";
		if (node.title === thisNode) button.append("This node");
		else button.append("Node ", make("bdi", "", node.title));
		button.addEventListener("click", () => choose("node", node.title));
		title.append(button, make("span", "number"));
		li.append(title);
		return li;
	}

	function updateNodeTitle(li, node) {
		const [button, n] = li.firstChild.children;
		setText(n, node.n);
		button.setAttribute("aria-pressed", String(chosen.node === node.title));
	}

	function draw(d) {
		const name = d.party;
		setText(id("party"), name);
		document.title = (d.totals.not_joined || d.guests.some((g) => g.conditions.length) ? "▲ " : "") + name + " · party";
		setText(id("totals"), [
			plural(d.totals.guests, "guest", "guests") + " on the line" + (d.totals.not_joined ? ", " + d.totals.not_joined + " not" : ""),
			plural(d.totals.services, "service", "services") + ", asked for " + plural(d.totals.asks, "time", "times") + " since Caddy started",
			d.totals.failed + d.totals.refused ? plural(d.totals.failed + d.totals.refused, "failed reply", "failed replies") : "nothing failed",
			d.traffic_since ? "traffic since " + time(d.traffic_since) : "",
		].filter(Boolean).join(" · "));
		id("chosen").hidden = !choice();
		setText(id("chosen-what"), choices[choice()] || "");
		setText(id("chosen-name"), chosen[choice()] || "");
		id("pause").setAttribute("aria-pressed", String(paused));
		drawTroubles(d.guests);
		drawGuests(d);
		drawFailures(d.replies);
		drawDiagram(d);
		rove();
	}

	// Polling: an answer each second, 304 as long as there is nothing new. No connection waits in between.
	async function poll() {
		clearTimeout(timer);
		controller?.abort();
		const mine = controller = new AbortController();
		const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
		try {
			const response = await fetch(location.pathname + "?" + query, {
				headers: { Accept: "application/json", ...(etag ? { "If-None-Match": etag } : {}) }, cache: "no-store", credentials: "same-origin",
				signal: AbortSignal.any([mine.signal, AbortSignal.timeout(10000)]),
			});
			if (response.status !== 304) {
				if (!response.ok) throw new Error(response.status === 401 || response.status === 403 ? "you are no longer let in: reload the page" : "status " + response.status + ", " + (await response.text()).trim().slice(0, 300));
				const d = await response.json();
				if (mine !== controller) return;
				shown = d;
				etag = response.headers.get("ETag") || "";
				draw(shown);
			}
			if (mine !== controller) return;
			lastGood = new Date();
			say(paused ? "paused" : "", paused ? "Paused" : "Live");
		} catch (error) {
			if (mine !== controller) return;
			const why = error instanceof TypeError ? "Caddy does not answer" : error.name === "TimeoutError" ? "Caddy does not answer in time" : error.message;
			say("lost", why + (lastGood ? "; this is of " + lastGood.toLocaleTimeString() : "") + ". Trying again.");
		}
		if (!paused && !document.hidden) timer = setTimeout(poll, 1000);
	}

	function say(kind, text) {
		id("status").className = kind;
		setText(id("status"), text);
	}

	function again() {
		etag = "";
		poll();
	}

	function choose(kind, name) {
		const same = chosen[kind] === name;
		chosen.guest = chosen.service = chosen.node = "";
		if (!same) chosen[kind] = name;
		if (shown) draw(shown);
		again();
	}

	// One place of each list is reached by the tabulator, the others by the arrows.
	function rove() {
		for (const list of document.querySelectorAll("[data-roving]")) {
			const buttons = [...list.querySelectorAll("button:not(:disabled)")];
			const at = buttons.includes(document.activeElement) ? document.activeElement : buttons.find((b) => b.tabIndex === 0 && b.roved) || buttons[0];
			for (const b of buttons) {
				b.tabIndex = b === at ? 0 : -1;
				b.roved = b === at;
			}
		}
	}

	// below returns the button of the next row that has something in the same place, or to the left of it.
	function below(button, next) {
		const place = (b) => b.closest("li").getBoundingClientRect(), from = place(button);
		const row = next.find((b) => Math.abs(place(b).top - from.top) > 1);
		if (!row) return next.at(-1);
		const { top } = place(row);
		return next.filter((b) => Math.abs(place(b).top - top) <= 1).reduce((best, b) => Math.abs(place(b).left - from.left) < Math.abs(place(best).left - from.left) ? b : best);
	}

	document.addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		if (event.key === "/" && document.activeElement !== id("find")) {
			event.preventDefault();
			id("find").focus();
			return;
		}
		if (event.key === "Escape" && choice()) {
			choose("guest", "");
			return;
		}
		const list = document.activeElement?.closest("[data-roving]");
		if (!list) return;
		const buttons = [...list.querySelectorAll("button:not(:disabled)")], at = buttons.indexOf(document.activeElement);
		const columns = ["askers", "services", "answerers"], column = columns.indexOf(list.id);
		let to;
		switch (event.key) {
			case "ArrowDown": to = below(buttons[at], buttons.slice(at + 1)); break;
			case "ArrowUp": to = below(buttons[at], buttons.slice(0, at).reverse()); break;
			case "ArrowRight": to = column < 0 ? buttons[at + 1] : id(columns[column + 1] || list.id).querySelector("button:not(:disabled)"); break;
			case "ArrowLeft": to = column < 0 ? buttons[at - 1] : id(columns[column - 1] || list.id).querySelector("button:not(:disabled)"); break;
			case "Home": to = buttons[0]; break;
			case "End": to = buttons.at(-1); break;
			default: return;
		}
		event.preventDefault();
		if (to) {
			to.focus();
			rove();
		}
	});

	let typing = 0;
	id("find").addEventListener("input", () => {
		clearTimeout(typing);
		typing = setTimeout(() => {
			chosen.find = id("find").value.trim();
			again();
		}, 150);
	});
	id("controls").addEventListener("submit", (event) => event.preventDefault());
	id("all").addEventListener("click", () => {
		choose("guest", "");
		id("find").focus();
	});
	id("pause").addEventListener("click", () => {
		paused = !paused;
		id("pause").setAttribute("aria-pressed", String(paused));
		if (paused) {
			clearTimeout(timer);
			say("paused", "Paused" + (lastGood ? ": this is of " + lastGood.toLocaleTimeString() : ""));
		} else poll();
	});
	document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) poll(); });
	id("table").addEventListener("toggle", () => { if (shown) drawDiagram(shown); });
	new ResizeObserver(() => drawLines()).observe(id("diagram"));
	say("loading", "Loading…");
	poll();
})();
