// Datums of map apps. Inside Anling every point is WGS-84; the public maps of China
// want GCJ-02, Baidu BD-09. The same formulas are in geo/datum.go.

export interface Point { lat: number; lng: number }

const outsideChina = (p: Point): boolean => p.lng < 72.004 || p.lng > 137.8347 || p.lat < 0.8293 || p.lat > 55.8271;

/** toGCJ02 brings a WGS-84 point to GCJ-02 (AMap, Tencent, Apple in China). */
export function toGCJ02(p: Point): Point {
  if (outsideChina(p)) return p;
  const a = 6378245;
  const ee = 0.00669342162296594323;
  const { sin, cos, abs, sqrt, PI } = Math;
  const x = p.lng - 105;
  const y = p.lat - 35;
  const root = sqrt(abs(x));
  const common = ((20 * sin(6 * x * PI) + 20 * sin(2 * x * PI)) * 2) / 3;
  const lat = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common
    + ((20 * sin(y * PI) + 40 * sin((y / 3) * PI)) * 2) / 3 + ((160 * sin((y / 12) * PI) + 320 * sin((y * PI) / 30)) * 2) / 3;
  const lng = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common
    + ((20 * sin(x * PI) + 40 * sin((x / 3) * PI)) * 2) / 3 + ((150 * sin((x / 12) * PI) + 300 * sin((x / 30) * PI)) * 2) / 3;
  const rad = (p.lat * PI) / 180;
  const magic = 1 - ee * sin(rad) * sin(rad);
  const degrees = 180 / PI;
  return {
    lat: p.lat + (lat / ((a * (1 - ee)) / (magic * sqrt(magic)))) * degrees,
    lng: p.lng + (lng / ((a / sqrt(magic)) * cos(rad))) * degrees,
  };
}

/** toBD09 brings a WGS-84 point to BD-09 (Baidu). */
export function toBD09(p: Point): Point {
  if (outsideChina(p)) return p;
  const g = toGCJ02(p);
  const k = (Math.PI * 3000) / 180;
  const z = Math.hypot(g.lng, g.lat) + 0.00002 * Math.sin(g.lat * k);
  const theta = Math.atan2(g.lat, g.lng) + 0.000003 * Math.cos(g.lng * k);
  return { lat: z * Math.sin(theta) + 0.006, lng: z * Math.cos(theta) + 0.0065 };
}

const six = (n: number): string => n.toFixed(6);

/** navigation lists the links of map apps to a place, each in its app's datum. */
export function navigation(p: Point, name: string): { app: 'amap' | 'baidu' | 'tencent' | 'apple'; url: string }[] {
  const g = toGCJ02(p);
  const b = toBD09(p);
  const n = encodeURIComponent(name);
  return [
    { app: 'amap', url: `https://uri.amap.com/navigation?to=${six(g.lng)},${six(g.lat)},${n}&mode=car&coordinate=gaode&callnative=1&src=anling` },
    { app: 'baidu', url: `https://api.map.baidu.com/marker?location=${six(b.lat)},${six(b.lng)}&title=${n}&content=${n}&coord_type=bd09ll&output=html&src=anling` },
    { app: 'tencent', url: `https://apis.map.qq.com/uri/v1/routeplan?type=drive&to=${n}&tocoord=${six(g.lat)},${six(g.lng)}&referer=anling` },
    { app: 'apple', url: `https://maps.apple.com/?daddr=${six(g.lat)},${six(g.lng)}&q=${n}` },
  ];
}
