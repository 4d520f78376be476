//! The path of a first packet through our rules, with one part left out or changed, to measure the cost of each.
//!
//! The rules are given as text, reduced to those that the measured packets meet, and each part changes that text. Most
//! of these rulesets are wrong for other packets: they show costs, not designs.

/// The rules that the packets of a plain Service meet; the sets have the types and flags of our sets.
const WAY: &str = "
table ip portolan {
    map frontends {
        type ipv4_addr . inet_proto . inet_service : classid
        size 1024
        elements = { 172.31.0.1 . tcp . 80 : 1:5 }
    }
    map classes {
        type classid : verdict
        size 1024
        elements = { 1:5 : goto cluster-5 }
    }
    map endpoints {
        type ipv4_addr . inet_proto . inet_service . classid : ipv4_addr . inet_service
        size 1024
        elements = { 172.31.0.1 . tcp . 80 . none : 10.202.0.2 . 8080, 172.31.0.1 . tcp . 80 . 0:1 : 10.202.0.3 . 8080,
                     172.31.0.1 . tcp . 80 . 0:2 : 10.202.0.4 . 8080, 172.31.0.1 . tcp . 80 . 0:3 : 10.202.0.5 . 8080,
                     172.31.0.1 . tcp . 80 . 0:4 : 10.202.0.6 . 8080 }
    }
    set hairpin {
        type ipv4_addr . ipv4_addr
        size 1024
    }
    chain send {
        meta l4proto != icmp dnat ip to ip daddr . meta l4proto . th dport . meta priority map @endpoints
    }
    chain cluster-5 {
        ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00004000
        meta priority set numgen random mod 5 goto send
    }
    chain services {
        meta priority set ip daddr . meta l4proto . th dport map @frontends meta priority vmap @classes
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump services
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat meta priority set none
        meta mark & 0x00004000 == 0x00004000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
        ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
    }
}
";

const SOURCE: &str = "ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00004000";
const FRONTEND: &str =
    "meta priority set ip daddr . meta l4proto . th dport map @frontends meta priority vmap @classes";
const DRAW: &str = "meta priority set numgen random mod 5 goto send";
const RESET: &str = "ct status dnat meta priority set none";
const MASQUERADE: &str =
    "meta mark & 0x00004000 == 0x00004000 meta mark set meta mark ^ 0x00004000 masquerade fully-random";
const HAIRPIN: &str = "ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random";
const HOOK: &str = "type nat hook postrouting priority srcnat; policy accept;";

/// The changes of a part: pairs of text to find and its replacement.
type Changes = &'static [(&'static str, &'static str)];

/// All parts, in the order of the report.
const PARTS: &[(&str, Changes)] = &[
    // All rules; they should cost the same as portolan-10.
    ("whole", &[]),
    ("without-draw", &[(DRAW, "meta priority set none goto send")]),
    ("without-source-check", &[(SOURCE, "")]),
    ("without-protocol-check", &[("meta l4proto != icmp dnat", "dnat")]),
    ("without-reset", &[(RESET, "")]),
    ("without-masquerade", &[(MASQUERADE, "")]),
    ("without-hairpin", &[(HAIRPIN, "")]),
    ("without-postrouting", &[(RESET, ""), (MASQUERADE, ""), (HAIRPIN, ""), (HOOK, "")]),
    // Rules for translated packets are in one chain; other packets meet one comparison.
    (
        "postrouting-asks-once",
        &[
            (RESET, "ct status & dnat == 0 accept\n        meta priority set none"),
            ("ct status dnat ip saddr", "ip saddr"),
        ],
    ),
    // A verdict for each frontend: tenants can add many such elements, and the kernel walks verdicts to find loops.
    (
        "verdict-of-frontend",
        &[
            (
                "type ipv4_addr . inet_proto . inet_service : classid",
                "type ipv4_addr . inet_proto . inet_service : verdict",
            ),
            (": 1:5 }", ": goto cluster-5 }"),
            (FRONTEND, "ip daddr . meta l4proto . th dport vmap @frontends"),
            // A chain must exist before an element of a set leads to it.
            (
                "    map classes {\n        type classid : verdict\n        size 1024\n        elements = { 1:5 : goto cluster-5 }\n    }\n",
                "",
            ),
        ],
    ),
    // The packet's mark in place of its priority: other users of the mark would lose it.
    (
        "mark-carries",
        &[
            (": classid", ": mark"),
            ("type classid :", "type mark :"),
            ("inet_service . classid", "inet_service . mark"),
            (": 1:5 }", ": 0x00010005 }"),
            ("{ 1:5 :", "{ 0x00010005 :"),
            (". none :", ". 0 :"),
            (". 0:", ". "),
            ("meta priority set none", "meta mark set 0"),
            ("meta priority", "meta mark"),
        ],
    ),
    // The connection's mark, which lasts as long as the connection.
    (
        "connection-mark-carries",
        &[
            (": classid", ": mark"),
            ("type classid :", "type mark :"),
            ("inet_service . classid", "inet_service . mark"),
            (": 1:5 }", ": 0x00010005 }"),
            ("{ 1:5 :", "{ 0x00010005 :"),
            (". none :", ". 0 :"),
            (". 0:", ". "),
            (RESET, ""),
            ("meta priority", "ct mark"),
        ],
    ),
    // One endpoint, as in the rules: drawn from one.
    ("one-endpoint", &[("numgen random mod 5", "numgen random mod 1")]),
    ("one-endpoint-without-draw", &[("numgen random mod 5", "none")]),
    // Frontends with one endpoint have a map of their own: one lookup less.
    (
        "one-endpoint-by-frontend",
        &[
            (SOURCE, ""),
            (DRAW, "meta l4proto != icmp dnat ip to ip daddr . meta l4proto . th dport map @only"),
            MAP_OF_ONE,
        ],
    ),
    // The same without a class: only one lookup, so no policy at all.
    ("one-lookup", &[(FRONTEND, "dnat ip to ip daddr . meta l4proto . th dport map @only"), MAP_OF_ONE]),
    (
        "one-lookup-without-postrouting",
        &[
            (FRONTEND, "dnat ip to ip daddr . meta l4proto . th dport map @only"),
            MAP_OF_ONE,
            (RESET, ""),
            (MASQUERADE, ""),
            (HAIRPIN, ""),
            (HOOK, ""),
        ],
    ),
];

const MAP_OF_ONE: (&str, &str) = (
    "    set hairpin {",
    "    map only {\n        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n        size 1024\n        \
     elements = { 172.31.0.1 . tcp . 80 : 10.202.0.2 . 8080 }\n    }\n    set hairpin {",
);

/// The names of all parts.
pub fn names() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name)
}

/// The rules of a part for `nft -f`; all rules if the part is unknown.
pub fn rules(name: &str) -> String {
    let changes = PARTS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, changes)| *changes);
    changes.iter().fold(WAY.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_part_changes_something() {
        for (name, changes) in PARTS {
            changes.iter().fold(WAY.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{name}: {from}");
                text.replace(from, to)
            });
        }
    }
}
