# Containers that show their id, behind fabio: http://microbot.service.consul:9999/. Change `count` from 2 to 7, `labctl job plan`, `labctl job run`.
job "microbot" {
  datacenters = ["*"]

  group "microbot" {
    count = 2

    network {
      port "http" {
        to = 8080
      }
    }

    service {
      name     = "microbot"
      port     = "http"
      provider = "consul"
      tags     = ["urlprefix-microbot.service.consul/", "urlprefix-/microbot strip=/microbot"]

      check {
        type     = "http"
        path     = "/health"
        interval = "2s"
        # A guest that waits for a host's busy CPU is not a service that hangs.
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

    # A container that is to go answers requests until fabio has heard of it.
    task "microbot" {
      driver         = "docker"
      shutdown_delay = "5s"

      config {
        # Made on each node by the role docker_image; there is no registry.
        image      = "local/microbot:1"
        force_pull = false
        ports      = ["http"]
      }

      env {
        NODE = "${node.unique.name}"
      }

      resources {
        cpu    = 20
        memory = 20
      }
    }
  }
}
