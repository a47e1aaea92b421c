-- migrate:up
-- What owners and administradores are told of their plan reaches them by mail, too, once.
set local role neurant_owner;

alter table public.notifications add column mailed_at timestamptz;
comment on column public.notifications.mailed_at is
  'When it was queued as a mail, too; null: it was not, and need not be.';

create function private.take_plan_mails(p_kinds text[], p_now timestamptz default now())
returns table (company_id uuid, company_name text, timezone text, to_address text, first_name text,
  kind text, details jsonb, language text)
language sql volatile security definer set search_path = '' as $$
  with due as (
    select n.company_id, n.id from public.notifications n
    where n.kind = any (p_kinds) and n.mailed_at is null
      and n.created_at between p_now - interval '1 day' and p_now
    order by n.created_at, n.id limit 50
    for update skip locked
  ),
  taken as (
    update public.notifications n set mailed_at = p_now
    from due where n.company_id = due.company_id and n.id = due.id
    returning n.company_id, n.user_id, n.kind, n.details
  )
  select t.company_id, c.name::text, c.timezone::text, u.email::text, u.first_name::text, t.kind,
    t.details, (
      select i.language from public.user_invitations i
      where i.company_id = u.company_id and i.accepted_by_user_id = u.id
      order by i.accepted_at desc limit 1)
  from taken t
  join public.companies c on c.id = t.company_id
  join public.users u on u.company_id = t.company_id and u.id = t.user_id and u.is_active
$$;
comment on function private.take_plan_mails(text[], timestamptz) is
  'Notifications of these kinds that are not mails yet, to be queued in the same transaction; older than a day is no news. language: of the invitation that brought the person, if one did. Definer: over all companies, and notifications are nobody else''s to read.';

create policy router_update on public.notifications for update to neurant_router
  using (true) with check (true);
grant update (mailed_at) on public.notifications to neurant_router;
grant execute on function private.take_plan_mails(text[], timestamptz) to neurant_jobs;
alter function private.take_plan_mails(text[], timestamptz) owner to neurant_router;

reset role;
-- migrate:down
