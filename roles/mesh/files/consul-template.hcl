# Written by the role mesh.
template {
  source      = "/etc/mesh/default.conf.ctmpl"
  destination = "/etc/nginx/conf.d/default.conf"
  perms       = 0644
  exec {
    command = ["systemctl", "reload-or-restart", "nginx.service"]
  }
}

template {
  source      = "/etc/mesh/stats.json.ctmpl"
  destination = "/var/lib/mesh/stats.json"
  perms       = 0644
}
