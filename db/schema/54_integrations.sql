-- Integrations and webhooks of a company.

create table public.integrations (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  integration_type public.integration_type_enum not null,
  description text,
  -- Only an envelope sealed under the company's key is accepted.
  config jsonb not null default '{}' check (
    config = '{}' or config - 'sealed' = '{}' and jsonb_typeof(config -> 'sealed') = 'string'),
  settings jsonb default '{}' check (jsonb_typeof(settings) = 'object'),
  auth_type public.auth_type_enum not null default 'api_key',
  oauth_token_encrypted text,
  api_key_encrypted text,
  expires_at timestamptz,
  is_active boolean not null default true,
  last_sync_at timestamptz,
  last_error text,
  sync_status public.sync_status_enum not null default 'pending',
  total_requests integer not null default 0 check (total_requests >= 0),
  successful_requests integer not null default 0 check (successful_requests >= 0),
  failed_requests integer not null default 0 check (failed_requests >= 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid not null,
  primary key (company_id, id),
  unique (company_id, name),
  foreign key (company_id, created_by) references public.users (company_id, id),
  check (total_requests = successful_requests + failed_requests),
  constraint integrations_name_reads_check
    check (private.reads_as_label(name))
);
comment on column public.integrations.config is
  'Addresses and keys, sealed by the company''s key: {"sealed": "<base64>"}. Never in clear.';
create index integrations_created_by_idx on public.integrations (company_id, created_by);

alter table public.integrations enable row level security, force row level security;
create policy staff_select on public.integrations for select to authenticated
  using (company_id = (select private.company_id('integrations.read')));
create policy staff_insert on public.integrations for insert to authenticated
  with check (company_id = (select private.company_id('integrations.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.integrations for update to authenticated
  using (company_id = (select private.company_id('integrations.manage')))
  with check (company_id = (select private.company_id('integrations.manage')));
create policy staff_delete on public.integrations for delete to authenticated
  using (company_id = (select private.company_id('integrations.manage')));
create policy worker_select on public.integrations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.integrations for select to neurant_router using (true);
create policy router_update on public.integrations for update to neurant_router using (true) with check (true);
grant delete on public.integrations to authenticated;
grant select (company_id, id, name, integration_type, description, settings, auth_type,
  expires_at, is_active, last_sync_at, last_error, sync_status, total_requests,
  successful_requests, failed_requests, created_at, updated_at, created_by) on public.integrations
  to authenticated;
grant insert (company_id, id, name, integration_type, description, config, settings, auth_type,
  oauth_token_encrypted, api_key_encrypted, expires_at, created_by) on public.integrations to
  authenticated;
grant update (name, description, config, settings, auth_type, oauth_token_encrypted,
  api_key_encrypted, expires_at, is_active) on public.integrations to authenticated;
grant select on public.integrations to neurant_worker, neurant_router;
grant update (last_error, total_requests, successful_requests, failed_requests) on
  public.integrations to neurant_router;

select private.audit_table('public.integrations', 'id',
  '{integration_type,auth_type,expires_at,is_active,last_sync_at,sync_status,created_by}',
  '{name,description,settings}',
  '{config,oauth_token_encrypted,api_key_encrypted}',
  '{last_error,total_requests,successful_requests,failed_requests,created_at,updated_at}');

create trigger set_updated_at before update on public.integrations
  for each row execute function private.update_updated_at_column();

create trigger keep_integration_count
  after insert or delete or update of is_active on public.integrations
  for each row execute function private.count_integration();

create table public.integration_logs (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  integration_id uuid not null,
  request_type varchar(50) not null,
  endpoint varchar(500) not null,
  request_data jsonb,
  response_status integer,
  response_data jsonb,
  response_time_ms integer check (response_time_ms >= 0),
  triggered_by_message_id uuid,
  triggered_by_user_id uuid,
  status public.integration_log_status_enum not null default 'success',
  error_message text,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, triggered_by_user_id) references public.users (company_id, id),
  constraint integration_logs_company_id_integration_id_fkey
    foreign key (company_id, integration_id) references public.integrations (company_id, id)
    on delete cascade
);
comment on column public.integration_logs.triggered_by_message_id is
  'No foreign key, because the message may be archived long before the log is dropped.';
create index integration_logs_newest_idx
  on public.integration_logs (company_id, integration_id, created_at desc);
create index integration_logs_user_idx on public.integration_logs (company_id, triggered_by_user_id)
  where triggered_by_user_id is not null;

alter table public.integration_logs enable row level security, force row level security;
create policy staff_select on public.integration_logs for select to authenticated
  using (company_id = (select private.company_id('integrations.read')));
create policy worker_insert on public.integration_logs for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy router_select on public.integration_logs for select to neurant_router using (true);
create policy router_update on public.integration_logs for update to neurant_router using (true) with check (true);
grant select on public.integration_logs to authenticated, neurant_router;
grant insert (company_id, integration_id, request_type, endpoint, request_data, response_status,
  response_data, response_time_ms, triggered_by_message_id, triggered_by_user_id, status,
  error_message) on public.integration_logs to neurant_worker;
grant update (request_data, response_data, error_message) on public.integration_logs to
  neurant_router;

create table public.webhook_endpoints (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  url varchar(2000) not null check (url ~ '^https?://'),
  events text[] not null check (cardinality(events) > 0),
  secret_encrypted bytea not null,
  is_active boolean not null default true,
  created_by uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id)
);
create index webhook_endpoints_created_by_idx on public.webhook_endpoints (company_id, created_by);

alter table public.webhook_endpoints enable row level security, force row level security;
create policy staff_select on public.webhook_endpoints for select to authenticated
  using (company_id = (select private.company_id('webhooks.read')));
create policy staff_insert on public.webhook_endpoints for insert to authenticated
  with check (company_id = (select private.company_id('webhooks.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.webhook_endpoints for update to authenticated
  using (company_id = (select private.company_id('webhooks.manage')))
  with check (company_id = (select private.company_id('webhooks.manage')));
create policy staff_delete on public.webhook_endpoints for delete to authenticated
  using (company_id = (select private.company_id('webhooks.manage')));
grant delete on public.webhook_endpoints to authenticated;
grant select (company_id, id, url, events, is_active, created_by, created_at, updated_at) on
  public.webhook_endpoints to authenticated;
grant insert (company_id, id, url, events, secret_encrypted, created_by) on
  public.webhook_endpoints to authenticated;
grant update (url, events, secret_encrypted, is_active) on public.webhook_endpoints to
  authenticated;

select private.audit_table('public.webhook_endpoints', 'id',
  '{is_active,created_by}',
  '{url,events}',
  '{secret_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.webhook_endpoints
  for each row execute function private.update_updated_at_column();

create table public.webhook_deliveries (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  endpoint_id uuid not null,
  event text not null,
  payload jsonb not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0 check (attempts >= 0),
  due_at timestamptz not null default now(),
  response_status integer,
  last_error text,
  created_at timestamptz not null default now(),
  delivered_at timestamptz,
  primary key (company_id, id),
  check ((status = 'delivered') = (delivered_at is not null)),
  constraint webhook_deliveries_company_id_endpoint_id_fkey
    foreign key (company_id, endpoint_id) references public.webhook_endpoints (company_id, id)
    on delete cascade
);
create index webhook_deliveries_endpoint_idx
  on public.webhook_deliveries (company_id, endpoint_id, created_at desc);
create index webhook_deliveries_due_idx on public.webhook_deliveries (due_at) where status = 'pending';

alter table public.webhook_deliveries enable row level security, force row level security;
create policy staff_select on public.webhook_deliveries for select to authenticated
  using (company_id = (select private.company_id('webhooks.read')));
grant select on public.webhook_deliveries to authenticated;

create function private.count_integration_request() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.integrations i
  set total_requests = i.total_requests + 1,
    successful_requests = i.successful_requests + (new.status = 'success')::integer,
    failed_requests = i.failed_requests + (new.status <> 'success')::integer,
    last_error = case when new.status = 'success' then i.last_error else new.error_message end
  where i.company_id = new.company_id and i.id = new.integration_id;
  return null;
end $$;
comment on function private.count_integration_request() is
  'Maintains the counters of an integration from its log. Security definer, called by a trigger, because no role may write counters directly.';

create trigger count_integration_request after insert on public.integration_logs
  for each row execute function private.count_integration_request();
