# The mesh's page: fifteen containers over three clients. Change `count` and the resources to see how many fit (labctl top).
job "web-server" {
  datacenters = ["*"]

  group "web-server" {
    count = 15

    network {
      port "http" {
        to = 8080
      }
    }

    service {
      name     = "web-server"
      port     = "http"
      provider = "consul"

      check {
        type     = "http"
        path     = "/health"
        interval = "5s"
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
      max_parallel      = 5
      min_healthy_time  = "1s"
      healthy_deadline  = "30m"
      progress_deadline = "1h"
    }

    task "web-server" {
      driver = "docker"

      config {
        # Made on each client by the role docker_image; there is no registry.
        image      = "local/page:1"
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
