# Debian's Redis, as a program of the node. What `nomad init` writes runs an image of a registry instead; both register a service that Consul checks.
job "redis" {
  datacenters = ["*"]

  group "cache" {
    count = 1

    network {
      port "db" {}
    }

    service {
      name     = "redis"
      port     = "db"
      provider = "consul"

      check {
        type     = "tcp"
        interval = "5s"
        timeout  = "5s"
      }
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    reschedule {
      unlimited      = true
      delay          = "5s"
      delay_function = "constant"
    }

    update {
      max_parallel      = 1
      min_healthy_time  = "1s"
      healthy_deadline  = "30m"
      progress_deadline = "1h"
    }

    task "redis" {
      driver = "raw_exec"
      user   = "nobody"

      config {
        command = "/usr/bin/redis-server"
        args    = ["--bind", "${NOMAD_IP_db}", "--port", "${NOMAD_PORT_db}", "--save", "", "--appendonly", "no", "--protected-mode", "no"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
