# Written by the role nginx_lb.
template {
  source      = "/etc/nginx/lb/service.ctmpl"
  destination = "/run/consul-template/nginx_lb.conf"
  perms       = 0644
  exec {
    command = ["/usr/local/sbin/nginx-lb-apply"]
  }
}

template {
  source      = "/etc/nginx/lb/index.ctmpl"
  destination = "/var/www/lb/index.html"
  perms       = 0644
}
