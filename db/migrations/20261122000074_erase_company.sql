-- migrate:up
-- A company that has left is erased: every row of it, but for the audit, which nobody can be recognised in any more.
set local role neurant_owner;

create function private.erasure_order() returns table (place bigint, tenant_table regclass, key name)
language sql stable set search_path = '' as $$
  with recursive tenant as (
    select c.oid, case when c.relname = 'companies' then 'id' else 'company_id' end::name as key
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname not like 'audit\_%'
      and (c.relname = 'companies' or exists (select from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped))
  ),
  deep (oid, depth) as (
    select t.oid, 0 from tenant t
    union
    select k.confrelid, d.depth + 1
    from deep d
    join pg_catalog.pg_constraint k on k.contype = 'f' and k.conrelid = d.oid
      and k.confrelid <> k.conrelid
    where d.depth < 100
  )
  select row_number() over (order by max(d.depth), t.oid), t.oid::regclass, t.key
  from tenant t join deep d on d.oid = t.oid
  group by t.oid, t.key
$$;
comment on function private.erasure_order() is
  'All tables of tenants but the audit, from the catalog, whatever refers to another before it; companies last.';

create function private.erase_company(
  p_company uuid, p_force boolean default false, p_limit integer default 5000,
  p_now timestamptz default now())
returns bigint
language plpgsql set search_path = '' as $$
declare
  v_company public.companies;
  v_left bigint := p_limit;
  v_gone bigint;
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles r
    where r.rolname = current_user and (r.rolsuper or r.rolbypassrls)) then
    raise exception 'only the migrating login erases a company'
      using errcode = 'insufficient_privilege';
  end if;
  select c.* into v_company from public.companies c where c.id = p_company for update;
  if v_company.id is null then
    -- Triggers may have left something in a queue that the company's own row did not hold back.
    null;
  elsif not (p_force or v_company.subscription_status = 'cancelled'
    and coalesce(v_company.subscription_ends_at <= p_now - interval '30 days', false)) then
    raise exception 'the company has not been closed for 30 days' using errcode = 'NA004';
  else
    update public.companies c set subscription_status = 'cancelled'
    where c.id = p_company and c.subscription_status <> 'cancelled';
    if to_regprocedure('private.shred_audit_company(uuid)') is not null then
      execute 'select private.shred_audit_company($1)' using p_company;
    end if;
    delete from auth.users a using public.users u
    where u.company_id = p_company and a.id = u.auth_user_id
      and not exists (select from public.users other
        where other.auth_user_id = a.id and other.company_id <> p_company);
  end if;
  delete from jobs.procrastinate_jobs j
  where j.args ->> 'company_id' = p_company::text and j.status <> 'doing';
  for v_table in
    select t.* from private.erasure_order() t order by t.place
  loop
    execute format(
      'delete from %1$s where ctid = any (array(select ctid from %1$s where %2$I = $1 limit $2))',
      v_table.tenant_table, v_table.key)
    using p_company, case
      -- Rows that refer to one another go at once.
      when exists (select from pg_catalog.pg_constraint k where k.contype = 'f'
        and k.conrelid = v_table.tenant_table and k.confrelid = k.conrelid) then null
      -- The company itself only when nothing else was left.
      when v_table.tenant_table = 'public.companies'::regclass and v_left < p_limit then 0
      else v_left end;
    get diagnostics v_gone = row_count;
    v_left := v_left - v_gone;
    exit when v_left <= 0;
  end loop;
  return p_limit - v_left;
end $$;
comment on function private.erase_company(uuid, boolean, integer, timestamptz) is
  'Deletes about p_limit rows of a company that has been closed for 30 days (or of any, with p_force); how many. To be called, each time in a transaction of its own, until it returns 0: a crash in between costs nothing. Only for the migrating login; as the caller, so that no role that serves traffic may delete companies.';

reset role;
-- migrate:down
