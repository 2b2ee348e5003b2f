//! Nginx: TLS in front of the coordinator, the dashboard and each service.
//!
//! Invariants:
//! - Answers to `/mcp` and other streams pass as they come: nothing on the way waits for more.
//! - Hosts are looked up while it runs, so copies that come and go are found.
//! - Keys are the fleet's own business: `Authorization` goes through, and nothing of it is logged.

use kernel::catalog::DASHBOARD_PORT;

use super::{File, MADE, built, host};

/// Nginx's files.
pub fn files() -> Vec<File> {
    vec![File::new("docker/nginx/nginx.conf", configuration())]
}

fn configuration() -> String {
    let ports: String = built().map(|service| format!("    {:<28} {};\n", host(service), service.port)).collect();
    TEMPLATE
        .replace("@MADE@", MADE)
        .replace("@TEMPORARY@", TEMPORARY)
        .replace("@PORTS@", ports.trim_end())
        .replace("@PAGE@", &DASHBOARD_PORT.to_string())
}

/// Where Nginx puts what it holds for a while.
pub(super) const TEMPORARY: &str = "  # The root file system is read-only.
  client_body_temp_path /tmp/body;
  proxy_temp_path       /tmp/proxy;
  fastcgi_temp_path     /tmp/fastcgi;
  uwsgi_temp_path       /tmp/uwsgi;
  scgi_temp_path        /tmp/scgi;";

const TEMPLATE: &str = r#"# @MADE@
worker_processes auto;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 4096; }

http {
@TEMPORARY@

  # No query and no header is logged: either may hold a secret.
  log_format line escape=json '{"time":"$time_iso8601","from":"$remote_addr","method":"$request_method","path":"$uri",'
    '"status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,"upstream":"$upstream_addr","id":"$request_id"}';
  access_log /dev/stdout line;
  server_tokens off;

  # What the fleet itself takes at most.
  client_max_body_size   4m;
  client_header_timeout  10s;
  client_body_timeout    30s;
  keepalive_timeout      75s;

  # The containers' own name service, asked anew every few seconds: copies come and go.
  resolver 127.0.0.11 valid=5s ipv6=off;

  # By client: requests a second beyond which it is answered 429, and connections at once.
  limit_req_zone  $binary_remote_addr zone=calls:10m rate=50r/s;
  limit_conn_zone $binary_remote_addr zone=clients:10m;
  limit_req_status  429;
  limit_conn_status 429;

  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }

  # The services by name. Others are not there.
  map $service $service_port {
    default                      0;
@PORTS@
  }

  server {
    listen 80 default_server;
    server_name _;
    location = /healthz { access_log off; default_type text/plain; return 200 "ok\n"; }
    location / { return 308 https://$host$request_uri; }
  }

  server {
    listen 443 ssl http2 default_server;
    server_name _;
    ssl_certificate     /run/secrets/tls_certificate;
    ssl_certificate_key /run/secrets/tls_key;
    ssl_protocols       TLSv1.2 TLSv1.3;
    ssl_session_cache   shared:tls:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;

    add_header Strict-Transport-Security "max-age=31536000" always;
    add_header X-Content-Type-Options    nosniff always;
    add_header X-Frame-Options           DENY always;
    add_header Referrer-Policy           same-origin always;

    limit_req  zone=calls burst=100 nodelay;
    limit_conn clients 200;

    # Streams pass as they come, for as long as they last.
    proxy_http_version      1.1;
    proxy_buffering         off;
    proxy_request_buffering off;
    proxy_cache             off;
    gzip                    off;
    proxy_connect_timeout   2s;
    proxy_send_timeout      1h;
    proxy_read_timeout      1h;
    proxy_set_header Host              $http_host;
    proxy_set_header Upgrade           $http_upgrade;
    proxy_set_header Connection        $connection_upgrade;
    proxy_set_header X-Request-Id      $request_id;
    proxy_set_header X-Forwarded-For   $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;

    # Always through a variable, so that the name is looked up while it runs.
    set $coordinator mcp-master-coordinator:4000;
    set $page        mcp-master-coordinator:@PAGE@;

    location = /healthz { access_log off; default_type text/plain; return 200 "ok\n"; }

    # The dashboard; the fleet asks for a key.
    location = / { proxy_pass http://$page; }
    location /ui { proxy_pass http://$page; }

    # One service: /services/mcp-utilities/mcp is port 4017's /mcp.
    location ~ ^/services/(?<service>[a-z0-9-]+)(?<rest>/.*)$ {
      if ($service_port = 0) { return 404; }
      proxy_pass http://$service:$service_port$rest$is_args$args;
    }

    # Everything else is the coordinator's: /mcp, /status, /servers, /agents, /events, /docs.
    location / { proxy_pass http://$coordinator; }
  }
}
"#;
