-- Notifications to people inside the console.

create table public.notifications (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  kind text not null check (kind ~ '^[a-z_]{3,50}$'),
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default now(),
  read_at timestamptz,
  mailed_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id),
  -- The mail of an alert states each of these; without one, the mails behind it would wait as well.
  constraint notifications_usage_alert check (
    kind <> 'usage_alert' or details ?& array['limit', 'level', 'used', 'allowed'])
);
comment on column public.notifications.kind is
  'A key of the message catalogue, shown in the reader''s language.';
comment on column public.notifications.mailed_at is
  'When the notification was also queued as a mail; null: it was not, and need not be.';
create index notifications_user_idx on public.notifications (company_id, user_id, created_at desc);
-- Finds notifications that are to be mailed without reading all others.
create index notifications_to_mail_idx on public.notifications (kind, created_at) where mailed_at is null;

alter table public.notifications enable row level security, force row level security;
create policy staff_select on public.notifications for select to authenticated
  using (company_id = (select private.company_id('notifications.read'))
    and user_id = (select private.user_id()));
create policy staff_update on public.notifications for update to authenticated
  using (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()));
create policy router_select on public.notifications for select to neurant_router using (true);
create policy router_insert on public.notifications for insert to neurant_router with check (true);
create policy router_update on public.notifications for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.notifications for delete to neurant_router using (true);
grant select on public.notifications to authenticated;
grant update (read_at) on public.notifications to authenticated;
grant select, insert, delete on public.notifications to neurant_router;
grant update (mailed_at) on public.notifications to neurant_router;

create function private.notify_users(
  p_company uuid, p_roles public.user_role_enum[], p_kind text, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.notifications (company_id, user_id, kind, details)
  select u.company_id, u.id, p_kind, p_details
  from public.users u
  where u.company_id = p_company and u.is_active and u.role = any (p_roles)
$$;
comment on function private.notify_users(uuid, public.user_role_enum[], text, jsonb) is
  'Notifies all users of these roles. Security definer, called by other definers only, because no role may write notifications directly.';
