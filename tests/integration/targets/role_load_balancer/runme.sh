#!/usr/bin/env bash
# What the role and the playbooks of a site refuse before they change anything; both machines are this one.
set -eux
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() { ansible-playbook -i inventory.yml "$@"; }

refused() { # refused SENTENCE PLAYBOOK [OPTION...]
    local sentence=$1
    shift
    if check "$@" >"$log" 2>&1; then exit 1; fi
    # Lines are folded where they are shown.
    tr -s '\n ' ' ' <"$log" | grep -F "$sentence"
    if grep -F Traceback "$log"; then exit 1; fi
}

pair() { # pair ADDRESS: what two balancers with that virtual IP are asked for by
    echo "{\"load_balancer_instances\": 2, \"load_balancer_virtual_ip\": \"$1\"}"
}

check check.yml
check check.yml -e "$(pair 127.0.0.100)"
refused 'several balancers need an address that moves between them' check.yml -e "$(pair "")"
refused 'one balancer has the address of its machine' check.yml -e load_balancer_virtual_ip=127.0.0.100
refused 'group fleet has 2 machines' check.yml -e '{"load_balancer_instances": 3, "load_balancer_virtual_ip": "127.0.0.100"}'
refused 'which a machine of group fleet has for its own' check.yml -e "$(pair 127.0.0.2)"
refused 'not an address of the network of core01 (127.0.0.0/8)' check.yml -e "$(pair 192.0.2.7)"
refused 'not an address of the network of core01' check.yml -e "$(pair site.example)"
refused 'no interface is eth77' check.yml -e "$(pair 127.0.0.100)" -e load_balancer_interface=eth77
refused 'no interface has 192.0.2.7' check.yml -e "$(pair 127.0.0.100)" -e coreos_private_ipv4=192.0.2.7 -e load_balancer_interface=

refused 'web_instances is not given' flagship.coreos.scale
refused 'web_instances is -1' flagship.coreos.scale -e web_instances=-1
refused 'web_instances is many' flagship.coreos.scale -e web_instances=many
refused 'web_image is not given' flagship.coreos.rolling_update
